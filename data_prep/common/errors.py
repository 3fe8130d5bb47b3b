"""The exception whose message is written for the user."""


class UserError(Exception):
    """A mistake or a missing thing that the user can correct.

    The message names the file or the field, says what is wrong, and gives the fix. The commands
    print only the message, without a traceback, and exit with status 2.
    """
