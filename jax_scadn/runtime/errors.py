"""The one exception that stands for a mistake its user can mend."""


class UserError(Exception):
    """Bad input or setting. The message is one line that says what to do.

    Command lines print it after `error:` and exit with status 2 (`cli.run`).
    """
