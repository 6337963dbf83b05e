"""The one error that means "the input is wrong": a clear line in the API, exit code 2 at the command line."""


class InputError(ValueError):
    """What the caller gave is wrong. The message is one line: what is wrong, where, and what to do.

    Everything else that escapes the suite is a bug of ours and keeps its traceback (exit code 1).
    """
