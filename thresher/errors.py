"""The one error a person is meant to read."""


class InputError(ValueError):
    """What was given cannot be used. The message is one line: the value, the rule, the next action.

    The command line prints it as that line and exits with status 2; everything else is our bug and keeps its traceback.
    """
