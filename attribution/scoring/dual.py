"""TRAK without a projection, exact: scores from the n x n kernel of per-example gradients.

    score_m(z_i, t) = e_i^T (G G^T + lambda I)^{-1} G g_t,    G = [g(z_1) .. g(z_n)]^T,    g(z) = grad f_m(z)

By the push-through identity G (G^T G + lambda I)^{-1} = (G G^T + lambda I)^{-1} G, this is TRAK's formula with the
identity as its projection. Memory is 24 n^2 bytes and a tile of G: for pools of up to some ten thousand examples.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from thresher.artifacts import Artifact, Draft, build
from thresher.attribution.gradients.engine import Directions
from thresher.attribution.gradients.factored import GradientReader
from thresher.attribution.gradients.pairwise import Read, add_products, batch_size, gram, num_pairs
from thresher.attribution.gradients.slopes import mean_gradients
from thresher.attribution.scoring.goal import target_weights
from thresher.attribution.scoring.kernel import factorise
from thresher.attribution.scoring.options import Models, Options, hashes
from thresher.attribution.scoring.score_table import saved, write_scores
from thresher.attribution.scoring.top import Extremes, write_top
from thresher.attribution.scoring.weighting import q_of
from thresher.data.batches import Shares, all_of
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.outputs import Batch
from thresher.progress import SILENT, Progress


def score_dual(
    models: Models,
    pool: Examples,
    targets: Mapping[str, Examples],
    *,
    out: Path,
    top: int = 0,
    options: Options = Options(),  # noqa: B008 (frozen)
    progress: Progress = SILENT,
) -> Artifact:
    """Exact scores as `scores.score` writes them: no projection and no features.

    A killed run continues with the checkpoint it was at. Raises InputError where the memory given is too little.
    """
    options.check(models, pool, targets, zero_damping=True)
    options = options.for_goal(pool, targets)
    if not 0 <= top <= len(pool):
        raise InputError(f"top={top} is out of range for a pool of {len(pool)}; pass 0 to {len(pool)}")
    task = ExactTask(models, pool, targets, options, every=top > 0)

    def write(draft: Draft) -> dict:
        results = [saved(draft, f"kernel{m:03d}", lambda m=m: task.run(m, progress)) for m in range(len(models))]
        scores = task.together(results)
        if top:
            write_top(draft, task.extremes(scores, top), lambda rows: [pool.ids[int(row)] for row in rows])
            scores = task.averaged(results)
        kernels = [
            {key: float(each[key]) for key in ("damping", "relative_damping", "diagonal_shift")} for each in results
        ]
        columns = dict(zip(targets, scores.T, strict=True))
        return {"kernels": kernels} | write_scores(draft, pool, columns, len(models), targets)

    inputs = hashes(models, pool, targets)
    config = {"method": "dual", "top": top, "targets": list(targets)} | options.request
    return build(out, kind="scores", config=config, seed=0, inputs=inputs, write=write)


def dual_scores(
    models: Models,
    pool: Examples,
    target: Examples,
    *,
    options: Options = Options(),  # noqa: B008 (frozen)
    progress: Progress = SILENT,
) -> Float[np.ndarray, "n t"]:
    """The exact score of every pool example for every target example, as LDS needs them."""
    options.check(models, pool, {"target": target}, zero_damping=True)
    options = replace(options, goal="selection").for_goal(pool, {"target": target})  # of single target examples
    task = ExactTask(models, pool, {"target": target}, options, every=True)
    return task.together([task.run(m, progress) for m in range(len(models))])


class ExactTask:
    """Scores with one column a target, or (`every`) one a target example, of all targets one after the other."""

    def __init__(
        self, models: Models, pool: Examples, targets: Mapping[str, Examples], options: Options, *, every: bool
    ) -> None:
        self.models, self.pool, self.options, self.every = models, options.part(pool), options, every
        self.targets = {name: all_of(examples, options.batch_tokens) for name, examples in targets.items()}
        self.sizes = [len(part) for part in self.targets.values()]
        self.starts = [0, *np.cumsum(self.sizes).tolist()][:-1]
        self.num_columns = sum(self.sizes) if every else len(self.targets)
        self.memory = options.memory_beside(len(pool), self.num_columns)

    def run(self, m: int, progress: Progress) -> dict[str, np.ndarray]:
        """`scores` [n, columns] and `doubt` [n] of one checkpoint, and the facts of its kernel."""
        cross = torch.zeros(len(self.pool), self.num_columns, dtype=torch.float64)
        doubt = torch.zeros(len(self.pool), dtype=torch.float64)
        trust = torch.zeros(
            sum(self.sizes), dtype=torch.float64
        )  # p of each target example, once a tile: in proportion
        label = f"kernel, checkpoint {m + 1} of {len(self.models)}"
        with closing(GradientReader(self.models[m][1](), self.pool.probe(), **self.options.reading)) as reader:
            size = batch_size(reader, self.memory)
            means = None if self.every else self._means(reader)

            def each_tile(held: list[Read]) -> None:
                for read in held:
                    read.shares.add(doubt, read.outputs.doubt.cpu())
                    if means is not None:
                        read.shares.add(cross, read.gradients.along(means).cpu())
                for columns, batch in self._target_batches(size) if means is None else ():
                    gradients, outputs = reader.read(batch)
                    columns.add(trust, outputs.confidence.cpu())
                    for read in held:
                        products = read.gradients.inner(gradients).cpu().double()
                        add_products(cross, products, read.shares, columns)

            with progress.task(label, num_pairs(reader, self.pool, self.memory)) as advance:
                matrix = gram(reader, self.pool, self.memory, each_tile=each_tile, advance=advance)
        kernel = factorise(matrix, self.options.multiple * float(matrix.diagonal().mean()))
        facts = {key: np.asarray(value) for key, value in kernel.facts.items()}
        return {"scores": kernel.solve(cross).numpy(), "doubt": doubt.numpy(), "trust": trust.numpy()} | facts

    def _means(self, reader: GradientReader) -> Directions:
        parts, by_confidence = list(self.targets.values()), self.options.goal == "labels"
        return mean_gradients(reader.engine, parts, self.options.output, by_confidence=by_confidence)

    def together(self, results: Sequence[Mapping[str, np.ndarray]]) -> Float[np.ndarray, "n c"]:
        """mean_m(score_m) * mean_m(Q_m)."""
        assert self.options.q is not None
        weights = q_of([each["doubt"] for each in results], self.options.q, self.options.output)
        return np.mean([each["scores"] for each in results], axis=0) * weights[:, None]

    def averaged(self, results: Sequence[Mapping[str, np.ndarray]]) -> Float[np.ndarray, "n d"]:
        """Of scores with a column a target example, those of each target."""
        means = []
        for each in results:
            edges = [slice(start, start + size) for start, size in zip(self.starts, self.sizes, strict=True)]
            columns = [each["scores"][:, at] @ target_weights(self.options.goal, each["trust"][at]) for at in edges]
            means.append(dict(each) | {"scores": np.stack(columns, axis=1)})
        return self.together(means)

    def extremes(self, scores: Float[np.ndarray, "n t"], top: int) -> dict[str, tuple[Sequence[str], Extremes]]:
        """The target's ids and its most helpful and most harmful examples, by target."""
        extremes = {}
        for (name, part), start in zip(self.targets.items(), self.starts, strict=True):
            best = Extremes(len(part), top)
            best.merge(torch.from_numpy(scores[:, start : start + len(part)]).float(), 0)
            extremes[name] = part.examples.ids, best
        return extremes

    def _target_batches(self, size: int) -> Iterator[tuple[Shares, Batch]]:
        """Windows of the targets, their owners counted through all targets."""
        for start, part in zip(self.starts, self.targets.values(), strict=True):
            for shares, batch in part.batches(size):
                yield replace(shares, owners=start + shares.owners), batch
