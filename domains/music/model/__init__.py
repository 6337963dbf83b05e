"""Networks, bases, adapters: what is trained and how."""
