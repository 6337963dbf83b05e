"""Source code as data: its syntax, what flows from where to where in it, and how alike two pieces are."""
