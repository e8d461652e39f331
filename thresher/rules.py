"""What each number that a person sets may be, by the name that it has everywhere: option, study key or argument.

A rule says what no use of the name can do without; a narrower one stands with the code that needs it. It is looked at
before anything heavy is loaded and before memory is asked for.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from thresher.errors import InputError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Rule:
    """A number from `low` to `high`; `above`: not `low` itself."""

    low: float
    high: float
    above: bool = False

    def __str__(self) -> str:
        low, high = (
            f"{end:,}" if isinstance(end, int) and abs(end) < 10**15 else f"{end:g}" for end in (self.low, self.high)
        )
        return f"a number above {low}, up to {high}" if self.above else f"a number from {low} to {high}"

    def allows(self, number: float) -> bool:
        """Whether `number` keeps the rule; NaN keeps none."""
        return (self.low < number if self.above else self.low <= number) and number <= self.high


COUNT, COUNT_OR_NONE = Rule(1, 10**9), Rule(0, 10**9)
AMOUNT, POSITIVE = Rule(0, 1e30), Rule(0, 1e30, above=True)
SHARE = Rule(0, 1, above=True)
RULES: Mapping[str, Rule] = {
    # Models and training.
    "epochs": Rule(0, 1e6, above=True),
    "tokens_per_parameter": Rule(0, 1e6, above=True),
    "batch_size": Rule(1, 10**6),
    "learning_rate": Rule(0, 1e3, above=True),
    "multiples": Rule(0, 1e3, above=True),
    "reference_multiples": Rule(0, 1e3, above=True),
    "rates": Rule(0, 1e3, above=True),
    "reference_rates": Rule(0, 1e3, above=True),
    "standard": Rule(0, 1e3, above=True),
    "momentum": Rule(0, 1),
    "weight_decay": Rule(0, 1e3),
    "eps_root": Rule(0, 1),
    "accumulate": Rule(1, 10**6),
    "seed": Rule(-(2**63), 2**63 - 1),
    "workers": Rule(1, 1024),
    # Pages.
    "page_mb": Rule(0, 100, above=True),
    "port": Rule(0, 65535),
    # Data.
    "vocab_size": Rule(1, 2**24),
    "sequence_length": Rule(2, 2**20),
    "size": Rule(1, 2**14),
    "part": Rule(0, 1),
    "share": SHARE,
    "holdout": Rule(0, 1),
    "ngram": Rule(1, 1000),
    "limit": COUNT,
    # How many of something are made.
    "count": COUNT,
    "tokens": Rule(1, 1e18),
    "examples": COUNT,
    "seeds": Rule(1, 10**4),
    "subsets": Rule(1, 10**6),
    "repeats": Rule(1, 10**4),
    "checkpoints": Rule(1, 10**4),
    "runs": Rule(1, 10**5),
    "first": Rule(1, 10**5),
    "batch": Rule(1, 10**5),
    "next": Rule(0, 10**5),
    "average": Rule(1, 1000),
    "resamples": Rule(0, 10**6),
    "rows_per_shard": COUNT,
    # Attribution.
    "k": Rule(1, 2**22),
    "top": COUNT_OR_NONE,
    "per_token": COUNT_OR_NONE,
    "rank": COUNT,
    "sample": COUNT,
    "steps": COUNT,
    "window": COUNT,
    "memory_gb": Rule(0, 1e6, above=True),
    "batch_tokens": COUNT,
    "damping": AMOUNT,
    "curvature_damping": POSITIVE,
    # Selection and mixtures.
    "fraction": SHARE,
    "checkpoint_fraction": SHARE,
    "weight": Rule(0, 1e12),
    "weights": Rule(0, 1e12),
    "random_budgets": Rule(0, 1e6, above=True),
    "threshold": Rule(-1, 1),
    "budget": POSITIVE,
    "fitted_budget": POSITIVE,
    "second_budget": POSITIVE,
    "test_fraction": Rule(0, 1, above=True),
    "kl_weight": AMOUNT,
    "max_kl": AMOUNT,
    "max_flops": POSITIVE,
    "low": Rule(0, 1, above=True),
    "high": Rule(1, 1e6, above=True),
    "ddo_factors": Rule(0, 1e6, above=True),
    "eta": Rule(0, 1e6, above=True),
    "smoothing": Rule(0, 1),
    "at_step": POSITIVE,
    "at_size": POSITIVE,
}


def check_numbers(values: Mapping[str, Any], label: str = "{}") -> None:
    """Raise InputError for the first number of `values` that breaks the rule of its name.

    Values that are no numbers, or lists of them, are others' to check. `label` is how messages call a name: "--{}".
    """
    for name, value in values.items():
        rule = RULES.get(name.replace("-", "_"))
        for number in value if isinstance(value, list | tuple) else (value,):
            if rule is None or isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if not rule.allows(number):
                raise InputError(f"{label.format(name)} {short(number)} cannot be; give {rule}")


def ruled(verb: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """`verb`, which refuses numbers among its arguments as `check_numbers` does, before it does anything."""
    signature = inspect.signature(verb)

    @functools.wraps(verb)
    def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        check_numbers(signature.bind(*args, **kwargs).arguments | kwargs, "{} =")
        return verb(*args, **kwargs)

    return checked


def short(number: float) -> str:
    """A number as a message says it: of a long whole one its beginning and how many digits it has."""
    if isinstance(number, int) and abs(number) >= 10**20:
        return f"{str(number)[:8]}... ({len(str(abs(number)))} digits)"
    return f"{number:g}" if isinstance(number, float) and math.isfinite(number) else str(number)
