"""How scores are made: the method and all that is part of the identity of a result, settled before anything is read."""

import math
from dataclasses import dataclass

from torch import nn

from thresher.api.loaders import Data, content_of
from thresher.api.measuring import Task
from thresher.api.weights import num_trainable
from thresher.attribution.gradients.projection import CLASSES, LANGUAGE, PROJECTIONS
from thresher.attribution.scoring.kernel import EXACT_DAMPING, usual_damping
from thresher.attribution.scoring.weighting import check_q
from thresher.canonical import hash_json
from thresher.errors import InputError, unknown

EXACT = "exact"
METHODS = ("auto", EXACT, *(name for name in PROJECTIONS if name != "identity"))
MULTIPLICATIONS = {True: 1e13, False: 1e12}
"""By whether it is text: what the exact kernel may cost before features are taken, a minute or two of a CPU."""
MOST_EXACT = 10_000
"""Training examples whose kernel takes 2.4 GB."""
PLAIN, VAST = ("sjlt", 2048), ("two-sided", 4096)
MOST_WHOLE = 2e8
"""Parameters whose gradient can be formed whole, as sjlt needs it."""
HELD = 2**28
"""Numbers of gradients in memory at once, 1 GB."""


@dataclass(frozen=True)
class AttributionPlan:
    """How scores are made: all of it is part of the result's identity."""

    method: str
    k: int | None
    damping: float
    q: str
    seed: int
    parameters: str | None
    loss: str | None
    architecture: str


def plan_of(
    model: nn.Module,
    task: Task,
    sides: tuple[Data, Data],
    *,
    method: str,
    k: int | None,
    damping: float | None,
    q: str,
    parameters: str | None,
    seed: int,
    kept: bool,
) -> AttributionPlan:
    """The plan for a model that is borrowed; `kept`: what it makes is found again by it.

    Raises InputError for options that are unknown or do not fit the task, and for a loss that cannot be told from
    others, where that counts.
    """
    method, k = _resolved(method, k, task, model, sides)
    check_q(q)
    return AttributionPlan(
        method=method,
        k=k,
        damping=_damping(damping, k, len(sides[0])),
        q=q if task.loss is None else "none",  # the gradient of a loss holds it already
        seed=seed,
        parameters=parameters,
        loss=None if task.loss is None else content_of(task.loss, "loss", strict=kept),
        architecture=hash_json([type(model).__qualname__, repr(model)]),
    )


def _resolved(
    method: str, k: int | None, task: Task, model: nn.Module, sides: tuple[Data, Data]
) -> tuple[str, int | None]:
    """The method, and the numbers of a feature (None for exact)."""
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if k is not None and k < 1:
        raise InputError(f"k={k} is too small; pass the numbers a gradient is projected to, 4096 is usual")
    if method == EXACT and k is not None:
        raise InputError(f"k={k} is of projections, and method exact has none; leave k out")
    size, (num_train, num_test), is_text = num_trainable(model), map(len, sides), task.form.is_text
    whole_fits = not task.is_plain or (num_train + num_test) * size <= HELD
    if method == EXACT and not whole_fits:
        raise InputError(
            f"method exact with loss= or several inputs holds {num_train + num_test} gradients of {size:,} numbers; "
            "pass method='sjlt', or parameters= for fewer"
        )
    cost = num_train * (num_train / 2 + num_test) * size
    is_cheap = num_train <= MOST_EXACT and cost <= MULTIPLICATIONS[is_text] and whole_fits
    if method == EXACT or (method == "auto" and k is None and is_cheap):
        return EXACT, None
    usual = PLAIN if task.is_plain else VAST if size > MOST_WHOLE else LANGUAGE if is_text else CLASSES
    return (usual[0] if method == "auto" else method), min(k or usual[1], size)


def _damping(damping: float | None, k: int | None, num_train: int) -> float:
    if damping is None:
        return EXACT_DAMPING if k is None else usual_damping(k, num_train)
    if not 0 <= damping < math.inf:
        raise InputError(f"damping={damping} is out of range; pass a finite number, 0 or more, or leave it out")
    return float(damping)
