"""How good pieces are: sets of them beside recordings, each by itself, and by listeners' votes."""
