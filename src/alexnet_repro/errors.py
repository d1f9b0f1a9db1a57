"""The one exception type of the package's own messages."""


class UsageError(Exception):
    """Something the user can put right: a config key, a path, a missing package.

    The message is one line that names the key or the path and says what to do. Commands print it
    alone, without a traceback, and exit with a non-zero code.
    """
