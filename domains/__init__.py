"""The domains that ship with the suite: one folder each; a domain imports `suite`, never another domain."""
