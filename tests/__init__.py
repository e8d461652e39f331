"""The type checker of tests: beartype, with whole numbers good for `float`, as Python's own rules have it (PEP 484).

jaxtyping checks a call twice, once before and once after, and that was half of the time of all tests. So a function is
given its checks when it is first called, and after `FULLY` calls in one test only one in `SPARSELY` is checked.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))

FULLY, SPARSELY = 30, 50
_jaxtyped: Any = jaxtyping.jaxtyped
# Of each code, since a function within another is made anew by every call of that: how often this test has called it.
_calls: dict[types.CodeType, list[int]] = {}


def check_anew() -> None:
    """Every function's next calls are checked: a test must not miss what those before it used up."""
    for calls in _calls.values():
        calls[0] = 0


def _sampled(*, typechecker: Any) -> Callable[[Any], Any]:
    """What jaxtyping's import hook puts on every function and class: its own decorator, on some of the calls."""

    def decorate(thing: Any) -> Any:
        if not isinstance(thing, types.FunctionType):
            return _jaxtyped(thing, typechecker=typechecker)
        calls = _calls.setdefault(thing.__code__, [0])
        whole = functools.cache(lambda: _jaxtyped(thing, typechecker=typechecker))

        @functools.wraps(thing)
        def some(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            is_checked = calls[0] <= FULLY or calls[0] % SPARSELY == 0
            return (whole() if is_checked else thing)(*args, **kwargs)

        return some

    return decorate


jaxtyping.jaxtyped = _sampled
