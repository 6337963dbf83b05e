"""The roof: the `suite` command. It finds the domains and contains none; nothing imports it."""
