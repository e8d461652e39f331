"""Ways to make a training set, written in a line each: what a study of proxies compares.

    NAME=all                              the whole pool
    NAME=domain:web+books                 examples of these domains
    NAME=class:cat+dog                    images with these labels
    NAME=mixture:web=.7,books=.3          exact shares of domains
    NAME=select:dsdm                      the best by a selector (docs/selectors.md), as many as are trained on
    NAME=selection:PATH                   what `thresher select` kept
    NAME=remove:KIND:...                  the pool without what one of the above takes: remove:select:random:.2,
                                          remove:select:dsdm:.2 (the most helpful), remove:select:bottom:.2 (the least),
                                          remove:select:embedding:.2 (the most similar), remove:class:cat

or the name of a file with such lines. Every set is drawn to the same number of examples: at random where there are
more, in passes where there are fewer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from thresher.cli.choices import kept_positions
from thresher.cli.command import named_paths
from thresher.cli.mix_training import draw_mixture
from thresher.cli.selecting import Sources, select_from
from thresher.cli.workspace import Workspace
from thresher.data.examples import Examples, ImageExamples, open_examples
from thresher.errors import InputError
from thresher.progress import Progress
from thresher.seeds import derive, numpy_rng
from thresher.selection.selection import open_selection

Positions = Int[np.ndarray, "n"]
KINDS = ("all", "domain", "class", "mixture", "select", "selection", "remove")


@dataclass(frozen=True)
class TrainingSet:
    """A name and how the set is made, as it was written."""

    name: str
    kind: str
    argument: str


def parse_set(entry: str) -> TrainingSet:
    """`NAME=KIND:ARGUMENT`. Raises InputError that names the entry and the kinds."""
    name, _, rest = entry.partition("=")
    kind, _, argument = rest.partition(":")
    inner = argument.partition(":")[0] if kind == "remove" else kind
    if not name or kind not in KINDS or inner not in KINDS or inner == "remove":
        raise InputError(f"recipe {entry!r} is not NAME=KIND:ARGUMENT with KIND among {', '.join(KINDS)}")
    if not argument and inner != "all":
        raise InputError(f"recipe {entry!r} says nothing after {kind}; write {name}={kind}:ARGUMENT")
    return TrainingSet(name, kind, argument)


def parse_sets(entries: Sequence[str]) -> list[TrainingSet]:
    """Of each entry, or of each line of an entry that is a file; empty lines and those with a leading # say nothing."""
    sets = [parse_set(line) for entry in entries for line in _lines(entry)]
    names = [one.name for one in sets]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise InputError(f"recipe {repeated[0]!r} is there twice; give every recipe a name of its own")
    return sets


def _lines(entry: str) -> list[str]:
    if "=" in entry or not Path(entry).is_file():
        return [entry]
    lines = [line.strip() for line in Path(entry).read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def positions_of(wanted: TrainingSet, num_examples: int, sources: Sources, *, seed: int) -> Positions:
    """The positions [num_examples] to train on, an example as often as it is to be seen; `seed` draws them."""
    pool = sources.pool
    assert pool is not None
    if wanted.kind == "mixture":
        return draw_mixture(np.asarray(pool.domains), _shares(wanted), num_examples, seed=seed)
    return draw(_members(wanted, num_examples, sources), num_examples, seed=seed)


def draw(members: Positions, num_examples: int, *, seed: int) -> Positions:
    """Of more, a random part; of fewer, whole passes and a random part. Draws of one seed overlap where sets do."""
    if not len(members):
        raise InputError("a recipe leaves no example to train on; give another one")
    turns = [
        numpy_rng(seed, "draw", turn).random(int(members.max()) + 1) for turn in range(-(-num_examples // len(members)))
    ]
    order = np.concatenate([members[np.argsort(keys[members], kind="stable")] for keys in turns])
    return np.sort(order[:num_examples])


def _members(wanted: TrainingSet, num_examples: int, sources: Sources) -> Positions:
    pool = sources.pool
    assert pool is not None
    everything = np.arange(len(pool))
    match wanted.kind:
        case "domain":
            return _labelled(wanted, np.asarray(pool.domains), everything)
        case "class":
            if not isinstance(pool, ImageExamples):
                raise InputError(f"recipe {wanted.name!r} is of classes, and the pool is text; write domain instead")
            return _labelled(wanted, np.asarray(pool.classes, dtype=object)[pool.labels], everything)
        case "selection":
            return kept_positions(Path(wanted.argument), pool)
        case "select":
            return _selected(wanted.argument, num_examples, sources)
        case "remove":
            inner = parse_set(f"{wanted.name}={wanted.argument}")
            return np.setdiff1d(everything, _members(inner, num_examples, sources))
        case _:
            return everything


def _labelled(wanted: TrainingSet, labels: np.ndarray, everything: Positions) -> Positions:
    names = wanted.argument.split("+")
    known = set(labels.tolist())
    if unknown := [name for name in names if name not in known]:
        shown = ", ".join(sorted(map(str, known))[:20])
        raise InputError(f"recipe {wanted.name!r}: the pool has no {wanted.kind} {unknown[0]!r}; it has {shown}")
    return everything[np.isin(labels, names)]


def _selected(spec: str, num_examples: int, sources: Sources) -> Positions:
    """By a selector with its own budget, or else of `num_examples`."""
    from thresher.selection.methods import stages_of

    budgeted = {"fraction", "count", "tokens"} & set(stages_of(spec)[-1].values)
    count = None if budgeted else min(num_examples, len(sources.ids))
    out = sources.space.place("selections/recipe", spec, count, sources.inputs, sources.seed)
    return np.unique(open_selection(select_from(sources, spec, out=out, seed=sources.seed, count=count).path).positions)


def _shares(wanted: TrainingSet) -> Mapping[str, float]:
    shares = {}
    for part in wanted.argument.split(","):
        name, _, text = part.partition("=")
        try:
            shares[name.strip()] = float(text)
        except ValueError:
            raise InputError(f"recipe {wanted.name!r}: {part!r} is not DOMAIN=SHARE") from None
    total = sum(shares.values())
    if min(shares.values()) < 0 or not 0 < total < float("inf"):
        raise InputError(f"recipe {wanted.name!r}: shares must be 0 or more, not all 0; correct {wanted.argument!r}")
    return {name: share / total for name, share in shares.items()}


def draw_sets(settings: Any, progress: Progress) -> tuple[Examples, Sources, dict[str, list[Positions]]]:
    """The pool of a study, what its recipes are made from, and recipe -> the positions of each repeat.

    `settings` has the study commands' pool, recipes, examples, seeds, targets, models, seed, out, device and executor.
    """
    wanted, pool = parse_sets(settings.recipes), open_examples(settings.pool)
    count = settings.examples or max(1, len(pool) // 5)
    if not 1 <= count <= len(pool):
        raise InputError(f"{count} examples a recipe; pass 1 to {len(pool)}, the size of the pool")
    targets = named_paths(settings.targets, "--targets") if settings.targets else {}
    sources = Sources(
        space=Workspace(settings.out, settings.device, progress, settings.executor),
        pool=pool,
        targets={name: open_examples(path) for name, path in targets.items()},
        models=settings.models,
        seed=settings.seed,
    )
    seeds = [derive(settings.seed, "recipe", repeat) % 2**31 for repeat in range(settings.seeds)]
    return pool, sources, {one.name: [positions_of(one, count, sources, seed=seed) for seed in seeds] for one in wanted}
