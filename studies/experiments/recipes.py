"""Ways to make a training set, written in a line each: what a study of proxies compares.

    NAME=all                              the whole pool
    NAME=domain:web+books                 examples of these domains
    NAME=class:cat+dog                    images with these labels
    NAME=mixture:web=.7,books=.3          exact shares of domains, in tokens
    NAME=select:dsdm                      the best by a selector (docs/selectors.md), as much as is trained on
    NAME=selection:PATH                   what `thresher select` kept
    NAME=remove:KIND:...                  the pool without what one of the above takes: remove:select:random:.2,
                                          remove:select:dsdm:.2 (the most helpful), remove:select:bottom:.2 (the least),
                                          remove:select:embedding:.2 (the most similar), remove:class:cat

or the name of a file with such lines. Every set is drawn to the same number of tokens (images): at random where there
are more, in passes where there are fewer, in whole documents; then it is trained on exactly that number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from thresher.data.examples import Examples, ImageExamples
from thresher.errors import InputError
from thresher.seeds import run_seed
from thresher.selection.budget import Budget
from thresher.selection.methods import METHODS, stages_of
from thresher.selection.selection import open_selection
from thresher.studies.experiments.training_sets import (
    Draw,
    Positions,
    TrainingSet,
    check_domains,
    draw_members,
    kept_positions,
)
from thresher.studies.selections.select import select_from
from thresher.studies.selections.sources import Sources

KINDS = ("all", "domain", "class", "mixture", "select", "selection", "remove")


@dataclass(frozen=True)
class Recipe:
    """A way to make a training set: a name and how it is made, as it was written."""

    name: str
    kind: str
    argument: str

    @property
    def selects(self) -> bool:
        """Whether it ranks the pool, by targets and models where its method looks at them."""
        return "select" in (self.kind, self.argument.partition(":")[0])


def parse_recipe(entry: str) -> Recipe:
    """`NAME=KIND:ARGUMENT`. Raises InputError that names the entry and the kinds."""
    name, _, rest = entry.partition("=")
    kind, _, argument = rest.partition(":")
    inner = argument.partition(":")[0] if kind == "remove" else kind
    if not name or kind not in KINDS or inner not in KINDS or inner == "remove":
        raise InputError(f"recipe {entry!r} is not NAME=KIND:ARGUMENT with KIND among {', '.join(KINDS)}")
    if not argument and inner != "all":
        raise InputError(f"recipe {entry!r} says nothing after {kind}; write {name}={kind}:ARGUMENT")
    if rest.removeprefix("remove:").startswith("all:"):
        raise InputError(f"recipe {entry!r} says something after all, which is all of the pool; write {name}=all")
    return Recipe(name, kind, argument)


def parse_recipes(entries: Sequence[str]) -> list[Recipe]:
    """Of each entry, or of each line of an entry that is a file; empty lines and those with a leading # say nothing."""
    recipes = [parse_recipe(line) for entry in entries for line in _lines(entry)]
    names = [recipe.name for recipe in recipes]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InputError(f"recipe {repeated[0]!r} is there twice; give every recipe a name of its own")
    return recipes


def _lines(entry: str) -> list[str]:
    if "=" in entry or not Path(entry).is_file():
        return [entry]
    lines = [line.strip() for line in Path(entry).read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def draw_recipe(recipe: Recipe, budget: int, sources: Sources, *, seed: int) -> Draw:
    """What a training on `budget` tokens (images) takes; `seed` draws it."""
    pool = sources.pool
    assert pool is not None
    if recipe.kind == "mixture":
        shares = _shares(recipe)
        domains = np.asarray(pool.domains)
        check_domains(domains, shares)
        return Draw(np.flatnonzero(np.isin(domains, [name for name in shares if shares[name] > 0])), shares)
    return Draw(draw_members(_members(recipe, budget, sources), budget, np.asarray(pool.lengths()), seed=seed))


def _members(recipe: Recipe, budget: int, sources: Sources) -> Positions:
    pool = sources.pool
    assert pool is not None
    everything = np.arange(len(pool))
    match recipe.kind:
        case "domain":
            return _labelled(recipe, np.asarray(pool.domains), everything)
        case "class":
            if not isinstance(pool, ImageExamples):
                raise InputError(f"recipe {recipe.name!r} is of classes, and the pool is text; write domain instead")
            return _labelled(recipe, np.asarray(pool.classes, dtype=object)[pool.labels], everything)
        case "selection":
            return kept_positions(Path(recipe.argument), pool)
        case "select":
            return _selected(recipe.argument, budget, sources)
        case "remove":
            inner = parse_recipe(f"{recipe.name}={recipe.argument}")
            return np.setdiff1d(everything, _members(inner, budget, sources))
        case _:
            return everything


def _labelled(recipe: Recipe, labels: np.ndarray, everything: np.ndarray) -> np.ndarray:
    names = recipe.argument.split("+")
    known = set(labels.tolist())
    if unknown := [name for name in names if name not in known]:
        shown = ", ".join(sorted(map(str, known))[:20])
        raise InputError(f"recipe {recipe.name!r}: the pool has no {recipe.kind} {unknown[0]!r}; it has {shown}")
    return everything[np.isin(labels, names)]


def _selected(spec: str, budget: int, sources: Sources) -> Positions:
    """By a selector with its own budget, or else as much as is trained on."""
    last = stages_of(spec)[-1]
    own = {"fraction", "count", "tokens"} & set(last.values) or METHODS[last.name].kind == "filter"
    unit = "count" if sources.holds_images else "tokens"
    given: dict[str, Any] = {} if own else {unit: min(budget, int(sources.lengths.sum()))}
    out = sources.workspace.place("selections/recipe", spec, given, sources.inputs, sources.seed)
    return np.unique(open_selection(select_from(sources, spec, out=out, seed=sources.seed, **given).path).positions)


def _shares(recipe: Recipe) -> Mapping[str, float]:
    shares = {}
    for part in recipe.argument.split(","):
        name, _, text = part.partition("=")
        try:
            shares[name.strip()] = float(text)
        except ValueError:
            raise InputError(f"recipe {recipe.name!r}: {part!r} is not DOMAIN=SHARE") from None
    total = sum(shares.values())
    if min(shares.values()) < 0 or not 0 < total < float("inf"):
        raise InputError(f"recipe {recipe.name!r}: shares must be 0 or more, not all 0; correct {recipe.argument!r}")
    return {name: share / total for name, share in shares.items()}


def budget_of(pool: Examples, tokens: int | None, examples: int | None) -> int:
    """Tokens (images) that each recipe is trained on an epoch: `tokens`, or what `examples` average ones hold, or a
    fifth of the pool.

    Raises InputError for both at once, for tokens of images, and for more than the pool has.
    """
    lengths = np.asarray(pool.lengths())
    supply, holds_images = int(lengths.sum()), isinstance(pool, ImageExamples)
    if tokens is not None and examples is not None:
        raise InputError(f"--tokens {tokens} and --examples {examples} are two budgets; give one")
    if tokens is not None:
        if holds_images:
            raise InputError(f"--tokens {tokens}: the pool holds images; pass --examples")
        if not 1 <= tokens <= supply:
            raise InputError(f"{tokens:,} tokens a recipe; pass 1 to {supply:,}, the size of the pool")
        return tokens
    if examples is not None:
        if not 1 <= examples <= len(pool):
            raise InputError(f"{examples} examples a recipe; pass 1 to {len(pool)}, the size of the pool")
        return max(1, round(examples * supply / len(pool)))
    return Budget(fraction=0.2).of(lengths).total


class Drawn(NamedTuple):
    """A pool, what it is drawn from, and the training sets that recipes make of it."""

    pool: Examples
    sources: Sources
    training_sets: list[TrainingSet]
    budget: int
    """Tokens (images) of an epoch, the same for every training set."""


def draw_recipes(recipes: Sequence[Recipe], sources: Sources, *, budget: int, num_repeats: int, seed: int) -> Drawn:
    """Every recipe drawn once a repeat; the draws of one repeat share a seed.

    What may need models comes last, so that what cannot be drawn is refused before anything is computed. Raises
    InputError for fewer than 3 recipes, which no decision can be judged on.
    """
    if len(recipes) < 3 or num_repeats < 1:
        raise InputError(f"{len(recipes)} recipes and {num_repeats} repeats; decisions are judged on 3 recipes or more")
    seeds = [run_seed(seed, "recipe", repeat) for repeat in range(num_repeats)]
    draws = {
        recipe.name: [draw_recipe(recipe, budget, sources, seed=seed) for seed in seeds]
        for recipe in sorted(recipes, key=lambda recipe: "select:" in f"{recipe.kind}:{recipe.argument}")
    }
    training_sets = [TrainingSet(recipe.name, draws[recipe.name]) for recipe in recipes]
    return Drawn(sources.given_pool, sources, training_sets, budget)
