"""`python -m suite`, the same as the command `suite`."""

import sys

from suite.cli.main import command

if __name__ == "__main__":
    sys.exit(command())
