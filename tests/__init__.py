"""The type checker of tests: beartype, with whole numbers good for `float`, as Python's own rules have it (PEP 484).

jaxtyping checks a call twice, once before and once after, and that was half of the time of all tests. So a function is
given its checks when it is first called, and after `FULLY` calls one in `SPARSELY` of them is checked.
"""

import functools
import itertools
import types
from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))

FULLY, SPARSELY = 30, 50
_jaxtyped: Any = jaxtyping.jaxtyped
# By code: a function within another is made anew by every call of that.
_calls: dict[types.CodeType, Iterator[int]] = {}


def _sampled(*, typechecker: Any) -> Callable[[Any], Any]:
    """What jaxtyping's import hook puts on every function and class: its own decorator, on some of the calls."""

    def decorate(thing: Any) -> Any:
        if not isinstance(thing, types.FunctionType):
            return _jaxtyped(thing, typechecker=typechecker)
        calls = _calls.setdefault(thing.__code__, itertools.count())
        whole = functools.cache(lambda: _jaxtyped(thing, typechecker=typechecker))

        @functools.wraps(thing)
        def some(*args: Any, **kwargs: Any) -> Any:
            call = next(calls)
            is_checked = call < FULLY or call % SPARSELY == 0
            return (whole() if is_checked else thing)(*args, **kwargs)

        return some

    return decorate


jaxtyping.jaxtyped = _sampled
