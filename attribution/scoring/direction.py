"""Scores of a pool for a few targets with no features stored: one direction a target, one pass over the pool.

    score_m(z_i) = <grad f_m(z_i), v_m>,    v_m = (n/s G_s^T G_s + lambda I)^{-1} mean_t grad f_m(t)

G_s holds the gradients of s pool examples drawn at random, scaled to the whole pool; with s = n the scores are those of
`dual`. By Woodbury's identity v is a sum of gradients with weights from the s x s kernel (a backward pass over s + t
examples; c = n / s):

    v = (g - G_s^T w) / lambda,    w = (G_s G_s^T + lambda / c I)^{-1} G_s g

and the pool takes one pass for its slopes along v (see `slopes`), about as long as one that trains on it. Memory does
not grow with the pool, beside ids and scores.
"""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch import nn

from thresher.artifacts import Artifact, Draft, build
from thresher.attribution.gradients.factored import GradientReader
from thresher.attribution.gradients.pairwise import Read, gram, num_pairs
from thresher.attribution.gradients.slopes import mean_gradients, weighted_gradients
from thresher.attribution.scoring.along import SHARD_SIZE, AlongTask, Solved
from thresher.attribution.scoring.kernel import factorise
from thresher.attribution.scoring.options import Models, Options, hashes
from thresher.attribution.scoring.score_table import write_scores
from thresher.attribution.scoring.tokens import check_per_token, write_tokens
from thresher.attribution.scoring.weighting import q_of
from thresher.data.batches import Part, all_of
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.seeds import numpy_rng


def score_by_direction(
    models: Models,
    pool: Examples,
    targets: Mapping[str, Examples],
    *,
    out: Path,
    sample: int = 2000,
    per_token: int = 0,
    seed: int = 0,
    options: Options = Options(),  # noqa: B008 (frozen)
    shard_size: int = SHARD_SIZE,
    progress: Progress = SILENT,
) -> Artifact:
    """Scores as `scores.score` writes them, with no features made.

    `sample` is s (the whole pool where that has fewer), drawn anew for each checkpoint by `seed`. `per_token`: see
    `tokens`. A killed run
    continues with the shard it was at; `shard_size`, in examples, is no part of the request. Raises InputError for bad
    options, for a kernel that the memory does not hold, and for scores that are not finite.
    """
    options.check(models, pool, targets, zero_damping=False)
    options = options.for_goal(pool, targets)
    check_per_token(pool, per_token)
    if sample < 1:
        raise InputError(f"sample={sample} is out of range; pass 1 or more")
    task = _Task(models, pool, targets, options, min(sample, len(pool)), seed)
    along = AlongTask(
        models=models,
        pool=pool,
        batch_tokens=options.batch_tokens,
        reading=options.reading,
        shard_size=shard_size,
    )

    def write(draft: Draft) -> dict:
        total, doubts, facts = np.zeros((len(pool), len(targets))), [], []
        for m in range(len(models)):
            slopes, doubt, found = along.run(draft, m, lambda model, m=m: task.solve(model, m, progress), progress)
            total += slopes / len(models)
            doubts.append(doubt)
            facts.append(found)
        assert options.q is not None
        scales = q_of(doubts, options.q, options.output)
        total *= scales[:, None]
        columns = dict(zip(targets, total.T, strict=True))
        write_tokens(draft, along, columns, per_token, scales=scales, progress=progress)
        return {"kernels": facts, "sample": task.sample} | write_scores(draft, pool, columns, len(models), targets)

    inputs = hashes(models, pool, targets)
    config = {"method": "direction", "sample": task.sample, "targets": list(targets)} | options.request
    config |= {"per_token": per_token} if per_token else {}
    return build(out, kind="scores", config=config, seed=seed, inputs=inputs, write=write)


class _Task:
    def __init__(
        self, models: Models, pool: Examples, targets: Mapping[str, Examples], options: Options, sample: int, seed: int
    ) -> None:
        self.models, self.pool, self.options = models, pool, options
        self.sample, self.seed = sample, seed
        self.targets = [all_of(examples, options.batch_tokens) for examples in targets.values()]
        self.memory = options.memory_beside(sample, len(targets))

    def solve(self, model: nn.Module, m: int, progress: Progress) -> Solved:
        """The direction v of each target by parameter, and the facts of the kernel."""
        label = f"kernel of the sample, checkpoint {m + 1} of {len(self.models)}"
        drawn = numpy_rng(self.seed, "direction", m).choice(len(self.pool), self.sample, replace=False)
        part, output = Part(self.pool, np.sort(drawn), self.options.batch_tokens), self.options.output
        with closing(GradientReader(model, part.probe(), **self.options.reading)) as reader:
            target = mean_gradients(reader.engine, self.targets, output, by_confidence=self.options.goal == "labels")
            cross = torch.zeros(len(part), len(self.targets), dtype=torch.float64)

            def each_tile(held: list[Read]) -> None:
                for read in held:
                    read.shares.add(cross, read.gradients.along(target).cpu())

            with progress.task(label, num_pairs(reader, part, self.memory)) as advance:
                matrix = gram(reader, part, self.memory, each_tile=each_tile, advance=advance)
            damping = self.options.multiple * float(matrix.diagonal().mean())
            kernel = factorise(matrix, damping * len(part) / len(self.pool))
            explained = weighted_gradients(model, reader.engine.names, part, kernel.solve(cross), output)
        vectors = {name: (value - explained[name]) / damping for name, value in target.items()}
        return Solved(vectors, kernel.facts | {"damping": damping, "relative_damping": self.options.multiple})
