"""The one error a person is meant to read, and the name that is near to one that is unknown."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What was given cannot be used. The message is one line: the value, the rule, the next action.

    The command line prints it as that line and exits with status 2; everything else is our bug and keeps its traceback.
    """


def unknown(what: str, value: object, known: Iterable[str]) -> InputError:
    """The error for a name that is none of `known`: says the nearest one, then all of them."""
    names = [str(name) for name in known]
    return InputError(f"{what} {value!r} is unknown{near(str(value), names)}; pass one of: {', '.join(names)}")


def near(word: str, known: Iterable[str]) -> str:
    """` (nearest: 'x')` for the name of `known` that is written most like `word`; nothing where none is near."""
    by_key = {_key(name): name for name in known}
    matches = difflib.get_close_matches(_key(word[:100]), by_key, 1, 0.65)
    return f" (nearest: {by_key[matches[0]]!r})" if matches else ""


def _key(name: str) -> str:
    return name.casefold().replace("_", "-")
