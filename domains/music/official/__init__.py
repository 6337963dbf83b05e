"""The authors' and other programs' files <-> ours."""
