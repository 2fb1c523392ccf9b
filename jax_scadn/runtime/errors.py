"""An error caused by user input or settings."""


class UserError(Exception):
    """Invalid input or setting. The message is one line that says what to do.

    Commands print it after `error:` and exit with status 2 (`cli.run`).
    """
