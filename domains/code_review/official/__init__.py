"""The authors' files <-> ours."""
