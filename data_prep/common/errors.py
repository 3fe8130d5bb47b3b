"""The one exception that a user is meant to read."""


class UserError(Exception):
    """A mistake or a lack that the user can mend.

    The message says what is wrong, names the file or the field, and gives the remedy. The commands
    print it alone, without a traceback, and exit with status 2.
    """
