"""What methods may look at: named facts about a pool and its targets, each made when a method first asks for it.

name                what it is
scores              {target: [n]} attribution scores, higher = more helpful
scored_by           a function from the name of a scorer to such scores
loss                [n] mean loss a token (an example) under a proxy
gradient_norms      [n] norms of per-example gradients
gradient_cosines    {target: [n]} mean cosine with the target examples' gradients
features            [n, k] unit vectors whose inner product is how much two examples do the same (`selection.diverse`)
embeddings          [n, d] hidden states of a proxy, or other vectors, and target_embeddings {target: [t, d]}
texts               n strings as they were written, and target_texts {target: [t] strings}
lengths             [n] tokens of each example (1 of an image); if they are not given, each counts as 1
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from thresher.errors import InputError
from thresher.seeds import numpy_rng
from thresher.selection import combination

NEEDS = {
    "scores": "target scores",
    "scored_by": "scores by other scorers",
    "loss": "losses of the pool",
    "gradient_norms": "gradient norms",
    "gradient_cosines": "gradient cosines with the targets",
    "features": "feature vectors of the pool",
    "embeddings": "embeddings of the pool",
    "target_embeddings": "embeddings of the targets",
    "texts": "texts of the pool",
    "target_texts": "texts of the targets",
    "lengths": "token counts of the pool",
}
FROM_MODELS = frozenset(
    ("scores", "scored_by", "loss", "gradient_norms", "gradient_cosines", "features", "embeddings", "target_embeddings")
)
"""The facts that take a trained proxy."""
BY_TARGET = ("scores", "gradient_cosines", "target_embeddings", "target_texts")

COLUMN, SENTENCES = "column:", "sentence-transformers:"
"""What a name of embeddings that no proxy makes begins with: those in the source's own rows, or of such a model."""


def check_embeddings(name: str) -> None:
    """Raise InputError for a name of embeddings that says neither a column nor a model."""
    if not any(name.startswith(kind) and len(name) > len(kind) for kind in (COLUMN, SENTENCES)):
        raise InputError(f"embeddings {name!r} say neither where nor how; write {COLUMN}NAME or {SENTENCES}MODEL")


def check_embedder(name: str) -> None:
    """Raise InputError where what a name of embeddings asks for is not on this machine: the package, or a folder."""
    if not name.startswith(SENTENCES):
        return
    bare = name.removeprefix(SENTENCES)
    if bare.startswith(("/", "./", "../", "~")) and not Path(bare).expanduser().exists():
        raise InputError(f"embeddings {name!r}: {bare} does not exist; check the path, or give a name of the hub")
    if find_spec("sentence_transformers") is None:
        raise InputError(f"embeddings {name!r} need sentence-transformers; pip install 'thresher[integrations]'")


class Evidence:
    """Facts about a pool by name, each a value or a function that is called once, when the fact is first asked for.

    `weights` says what each target counts for wherever targets are combined; None: all equal. `advice` says, by the
    name of a fact, how to give it. Raises InputError for an unknown name and an empty pool, and when a fact is made,
    for one that does not fit the pool.
    """

    def __init__(
        self,
        ids: Sequence[str] | np.ndarray,
        domains: Sequence[str] | np.ndarray | None = None,
        *,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
        advice: Mapping[str, str] | None = None,
        **facts: Any | Callable[[], Any],
    ) -> None:
        unknown = sorted(set(facts) - set(NEEDS))
        if unknown:
            raise InputError(f"{unknown[0]!r} is no evidence; pass any of: {', '.join(NEEDS)}")
        if not len(ids):
            raise InputError("the pool is empty; give a pool with at least one example")
        self.ids, self.seed, self.weights = ids, seed, weights
        self.domains = np.full(len(ids), "", dtype=object) if domains is None else np.asarray(domains, dtype=object)
        self._advice = dict(advice or {})
        self._facts: dict[str, Any] = {name: fact for name, fact in facts.items() if fact is not None}
        self._made: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def require(self, name: str, asker: str) -> None:
        """Check that the fact `name` can be made. Raises InputError that names the `asker` otherwise."""
        if name not in self._facts:
            raise InputError(f"{asker} needs {NEEDS[name]}; {self._advice.get(name, f'pass them as {name}')}")

    def __getitem__(self, name: str) -> Any:
        self.require(name, "this selection")
        if name not in self._made:
            fact = self._facts[name]
            self._made[name] = self._checked(name, fact() if callable(fact) else fact)
        return self._made[name]

    def scores_by(self, scorer: str) -> Mapping[str, Float[np.ndarray, "n"]]:
        """Scores for each target by a scorer of a name; `given`: those that are there as `scores`."""
        if scorer == "given":
            return self["scores"]
        self.require("scored_by", f"scorer {scorer!r}")
        name = f"scored_by {scorer}"
        if name not in self._made:
            self._made[name] = self._checked("scores", self._facts["scored_by"](scorer))
        return self._made[name]

    def with_seed(self, seed: int) -> "Evidence":
        """The same evidence with another seed; facts are made once for both."""
        other = copy(self)
        other.seed = seed
        return other

    def combined(self, by_target: Mapping[str, Float[np.ndarray, "n"]]) -> Float[np.ndarray, "n"]:
        """One number an example: the weighted mean over targets, each normalised over the pool."""
        return combination.combine(by_target, self.weights)

    def shares(self, targets: Iterable[str]) -> dict[str, float]:
        """What each target counts for; the shares sum to 1."""
        return combination.shares(list(targets), self.weights)

    @cached_property
    def lengths(self) -> Int[np.ndarray, "n"]:
        """What each example costs of a budget: its tokens, or 1 if they are not known."""
        return np.asarray(self["lengths"], dtype=np.int64) if "lengths" in self._facts else np.ones(len(self), np.int64)

    @cached_property
    def canonical(self) -> Int[np.ndarray, "n"]:
        """All positions in the order of ids, so that draws and clusters do not depend on the pool's order."""
        return np.argsort(np.asarray(self.ids, dtype=str), kind="stable")

    def by_id(self, alive: Int[np.ndarray, "m"]) -> Int[np.ndarray, "m"]:
        """The positions `alive` in the order of ids."""
        return self.canonical[np.isin(self.canonical, alive)]

    def rng(self, *names: str) -> np.random.Generator:
        """A generator of random numbers for one purpose, from the seed."""
        return numpy_rng(self.seed, "selection", *names)

    def _checked(self, name: str, value: Any) -> Any:
        if name in BY_TARGET and not value:
            raise InputError(f"no target among the {NEEDS[name]}; give at least one")
        if name.startswith("target_"):
            empty = [target for target, rows in value.items() if len(rows) == 0]
            if empty:
                raise InputError(f"target {empty[0]!r} has no examples; give at least one, or leave it out")
            return value
        for rows in value.values() if name in BY_TARGET else [value]:
            if len(rows) != len(self):
                raise InputError(
                    f"{len(rows)} {NEEDS[name]} for {len(self)} examples; give those of the same pool, in its order"
                )
            # Of target scores `combination.combine` says which target they are for.
            if name not in BY_TARGET and name != "texts" and not np.isfinite(rows).all():
                raise InputError(f"the {NEEDS[name]} are not all finite; check that the proxy did not diverge")
            if name == "lengths" and np.min(rows) < 1:
                raise InputError(f"an example of {np.min(rows)} tokens is none; lengths are whole numbers of 1 or more")
        return value
