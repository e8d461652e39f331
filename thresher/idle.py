"""Settings that change nothing where they stand, by the name that they have everywhere: option, study key or argument.

A setting that somebody wrote and nobody reads was meant to do something: it is refused or, where it says no more than
how (HOW), warned of. What a scorer or a method of selection does not read stands with these
(`thresher.api.scorer_check`).
"""

import inspect
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from thresher.errors import InputError

log = logging.getLogger(__name__)
HOW = frozenset({"vocab_size", "sequence_length", "ngram", "rows_per_shard"})
"""Settings that say how something is made: where it is not made, what was meant is done all the same."""
Written = Callable[[str], str]
"""How a message writes the name of a setting."""

LANGUAGE, LABELLED, VISION = "language", "text-classification", "vision"
OF_TASKS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("prompt", "continuation", "choices", "gold", "classify", "question", "domain"), (LANGUAGE,)),
    **dict.fromkeys(
        ("text", "tokenizer", "vocab_size", "sequence_length", "decontaminate", "ngram"),
        (LANGUAGE, LABELLED),
    ),
    **dict.fromkeys(("image", "size"), (VISION,)),
    "label": (VISION, LABELLED),
}
"""Settings of how examples are prepared -> the tasks that read them; what is not here, every task reads."""


@dataclass(frozen=True)
class Idle:
    """When settings of one verb, or of one table of a study, change nothing."""

    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Setting -> others, of which one has to be given too."""
    replaced: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Setting -> others, each of which is heeded in its place."""

    def check(self, given: Collection[str], written: Written = str) -> None:
        """Refuse (InputError), or warn of, each of the settings `given` that changes nothing beside the others."""
        for name in given:
            needed = self.needs.get(name, ())
            if needed and not set(needed) & set(given):
                others, it = " or ".join(map(written, needed)), "it" if len(needed) == 1 else "one"
                _say(name, f"{written(name)} changes nothing without {others}; add {it}, or leave {written(name)} out")
            for other in self.replaced.get(name, ()):
                if other in given:
                    _say(name, f"{written(name)} changes nothing beside {written(other)}; leave one of them out")


PREPARING = Idle(
    needs={"question": ("classify",), "classes": ("classify", "task"), "ngram": ("decontaminate",)},
    replaced={"text": ("continuation", "choices"), "vocab_size": ("tokenizer",)},
)
VALIDATING = Idle(needs={"costs": ("random_budgets",)})


def check_task(given: Collection[str], task: str, written: Written = str) -> None:
    """Refuse (InputError), or warn of, each of the settings `given` that examples of `task` have no use for."""
    for name in given:
        tasks = OF_TASKS.get(name, (task,))
        if task not in tasks:
            _say(
                name, f"{written(name)} changes nothing with task {task}, it is of {' and '.join(tasks)}; leave it out"
            )


def _say(name: str, message: str) -> None:
    if name not in HOW:
        raise InputError(message)
    log.warning(message)


def given_in(table: Any) -> list[str]:
    """The fields of a dataclass that differ from their defaults."""
    usual = {
        one.name: one.default if one.default_factory is MISSING else one.default_factory() for one in fields(table)
    }
    return [name for name, default in usual.items() if _differs(getattr(table, name), default)]


def given_to(verb: Callable[..., Any], values: Mapping[str, Any]) -> list[str]:
    """The parameters of a function whose `values`, its `locals()` at the start, differ from their defaults."""
    parameters = inspect.signature(verb).parameters
    return [
        name for name, one in parameters.items() if one.default is not one.empty and _differs(values[name], one.default)
    ]


def _differs(value: Any, usual: object) -> bool:
    """Whether a value says something; an empty mapping or list says as little as None."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return value is not usual and value != usual and (bool(value) or not isinstance(value, Collection))
