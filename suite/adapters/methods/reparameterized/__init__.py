"""Methods that turn a weight into another one."""
