"""How the base is spoken to (protocols, schemas, templates) and what is put on it."""
