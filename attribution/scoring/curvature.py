"""Influence functions: scores of a pool for targets by the inverse curvature of the training loss.

    score_m(z_i) = -grad margin_m(t)^T (H + D)^-1 grad loss_m(z_i),    averaged over checkpoints m

Weighing z_i up by eps / n moves the parameters by -eps / n (H + D)^-1 grad loss(z_i) (Koh and Liang 2017; Grosse et al.
2023): the score says how much that raises the target's margin, or lowers its loss. H and D: `curvature.inverse`. Of a
target's mean one solve and one pass over the pool for its slopes; of all target examples, rows of gradients meet all
solutions at once.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from thresher.artifacts import Artifact, Draft, build, is_sound, piece
from thresher.attribution.curvature.factors import HELD, Factors, fit_factors
from thresher.attribution.curvature.inverse import Solving
from thresher.attribution.curvature.many_targets import check_rank, invert_many
from thresher.attribution.curvature.store import CurvatureStore, load_factors, name_of, sampled, save_factors
from thresher.attribution.curvature.vectors import flatten, unflatten
from thresher.attribution.gradients.blocks import Rows
from thresher.attribution.gradients.engine import Directions, GradientEngine
from thresher.attribution.gradients.slopes import mean_gradients
from thresher.attribution.scoring.along import SHARD_SIZE, AlongTask, Solved
from thresher.attribution.scoring.options import GIGABYTE, Models, Options, hashes
from thresher.attribution.scoring.score_table import write_scores
from thresher.attribution.scoring.tokens import check_per_token, write_tokens
from thresher.data.batches import Part, Shares, all_of
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.progress import SILENT, Progress

# What raises the margin, and what lowers the loss, is helpful.
SIGNS = {"margin": -1.0, "loss": 1.0}


def score_by_curvature(
    models: Models,
    pool: Examples,
    targets: Mapping[str, Examples],
    *,
    out: Path,
    solving: Solving = Solving(),  # noqa: B008 (frozen)
    curvature: CurvatureStore | None = None,
    rank: int | None = None,
    per_token: int = 0,
    seed: int = 0,
    options: Options = Options(),  # noqa: B008 (frozen)
    shard_size: int = SHARD_SIZE,
    progress: Progress = SILENT,
) -> Artifact:
    """Scores as `scores.score` writes them: one direction a target, one pass over the pool.

    `curvature`, from `fit_curvature`, saves making factors here. `options.output` is what is asked of the target. The
    damping is that of `solving`; `options.damping`, of TRAK's kernel, and q say nothing here. `rank`: of many targets
    only so many combinations are solved for and scored along (`many_targets`). `per_token`: see `tokens`. A killed run
    continues with the shard it was at. Raises InputError for bad options and for scores that are not finite.
    """
    task = CurvatureTask(models, pool, targets, options, solving, curvature, seed, rank)
    check_per_token(pool, per_token)
    along = AlongTask(
        models=models,
        pool=pool,
        batch_tokens=options.batch_tokens,
        reading=task.reading | {"output": "loss"},
        shard_size=shard_size,
    )

    def write(draft: Draft) -> dict:
        total, facts = np.zeros((len(pool), len(targets))), []
        for m in range(len(models)):
            slopes, _, found = along.run(draft, m, lambda model, m=m: task.solve(model, m, draft, progress), progress)
            total += slopes / len(models)
            facts.append(found)
        columns = dict(zip(targets, total.T, strict=True))
        write_tokens(draft, along, columns, per_token, progress=progress)
        return {"solves": facts} | write_scores(draft, pool, columns, len(models), targets)

    inputs = hashes(models, pool, targets)
    if curvature is not None:
        inputs["curvature"] = curvature.artifact.content_hash
    config = {"method": "curvature", "targets": list(targets), "goal": task.options.goal} | task.solving.request
    config |= {"output": options.output, "parameters": options.parameters}
    config |= {"per_token": per_token} if per_token else {}
    config |= {"rank": rank} if rank is not None and rank < len(targets) else {}
    return build(out, kind="scores", config=config, seed=seed, inputs=inputs, write=write)


def curvature_scores(
    models: Models,
    pool: Examples,
    target: Examples,
    *,
    solving: Solving = Solving(),  # noqa: B008 (frozen)
    curvature: CurvatureStore | None = None,
    seed: int = 0,
    options: Options = Options(),  # noqa: B008 (frozen)
    rank: int | None = None,
    progress: Progress = SILENT,
) -> Float[np.ndarray, "n t"]:
    """The score of every pool example for every target example, as LDS needs them.

    `rank`: of the target examples only so many combinations are solved for and scored along (`many_targets`). Raises
    InputError where gradients of all target examples take more than the memory given.
    """
    task = CurvatureTask(models, pool, {"target": target}, options, solving, curvature, seed, rank)
    return np.mean([task.pairs(m, progress) for m in range(len(models))], axis=0)


class CurvatureTask:
    """The solves of each checkpoint, for the mean of each target or for all of its examples."""

    def __init__(
        self,
        models: Models,
        pool: Examples,
        targets: Mapping[str, Examples],
        options: Options,
        solving: Solving,
        curvature: CurvatureStore | None,
        seed: int,
        rank: int | None,
    ) -> None:
        options.check(models, pool, targets, zero_damping=False)
        self.solving = solving
        self.solving.check()
        check_rank(rank)
        self.rank = rank
        if curvature is not None:
            curvature.check(models, options.parameters)
            self.solving = replace(self.solving, sample=curvature.artifact.facts["num_examples"])
        self.models, self.pool, self.curvature, self.seed = models, pool, curvature, seed
        self.options = options.for_goal(pool, targets)
        self.targets = [all_of(examples, options.batch_tokens) for examples in targets.values()]
        self.reading = {name: value for name, value in options.reading.items() if name != "output"}
        self.sign = SIGNS[options.output]

    def solve(self, model: nn.Module, m: int, draft: Draft, progress: Progress) -> Solved:
        """The direction of each target's mean, and facts of the solve."""
        file = draft.state / f"factors-{name_of(m)}"
        if self.curvature is None and not is_sound(file):
            with piece(file) as scratch:
                save_factors(self._fit(model, m, progress), scratch)
        factors = self._stored(m) if self.curvature is not None else load_factors(file, self.reading["device"])
        with closing(GradientEngine(model, **self.reading)) as engine:
            by_confidence = self.options.goal == "labels"
            means = mean_gradients(engine, self.targets, self.options.output, by_confidence=by_confidence)
        solved, facts, mixing = self._solved(model, m, factors, means)
        return Solved({name: self.sign * value for name, value in solved.items()}, facts, mixing)

    def pairs(self, m: int, progress: Progress) -> Float[np.ndarray, "n t"]:
        """Scores of every pair under one checkpoint."""
        model = self.models[m][1]()
        factors = self._fit(model, m, progress) if self.curvature is None else self._stored(m)
        (target,) = self.targets
        with closing(GradientEngine(model, output=self.options.output, **self.reading)) as engine:
            needed = 3 * len(target) * engine.size * engine.dtype.itemsize
            if needed > self.options.memory_gb * GIGABYTE:
                raise InputError(
                    f"the gradients of {len(target)} target examples and their solutions take {needed / GIGABYTE:.3g} "
                    f"GB and {self.options.memory_gb:g} GB were given; give more memory, fewer target examples, or "
                    "score for their mean"
                )
            engine.read_anew(target.probe())
            rows = torch.zeros(len(target), engine.size, dtype=engine.dtype, device=engine.device)
            for shares, values in gradient_rows(engine, target):
                shares.add(rows, values)
            shapes = {name: model.get_parameter(name) for name in engine.names}
        solved, _, mixing = self._solved(model, m, factors, unflatten(rows, shapes))
        directions = self.sign * flatten({name: solved[name] for name in shapes})
        scores = torch.zeros(len(self.pool), len(directions), dtype=torch.float64)
        part = all_of(self.pool, self.options.batch_tokens)
        label = f"scores, checkpoint {m + 1} of {len(self.models)}"
        with (
            closing(GradientEngine(model, output="loss", **self.reading)) as engine,
            progress.task(label, len(self.pool)) as advance,
        ):
            engine.read_anew(part.probe())
            for shares, values in gradient_rows(engine, part):
                shares.add(scores, (values @ directions.T).cpu())
                advance(len(np.unique(shares.owners)))
        return (scores if mixing is None else scores @ mixing.T.double().cpu()).numpy()

    def _solved(
        self, model: nn.Module, m: int, factors: Factors, targets: Directions
    ) -> tuple[dict[str, Tensor], dict[str, float], Tensor | None]:
        return invert_many(model, factors, self._newton_part(m), targets, self.solving, self.rank)

    def _fit(self, model: nn.Module, m: int, progress: Progress) -> Factors:
        label = f"factors, checkpoint {m + 1} of {len(self.models)}"
        part = self._drawn(self.solving.sample, "curvature", m)
        return fit_factors(model, part, seed=self.seed, progress=progress, label=label, **self.reading)

    def _stored(self, m: int) -> Factors:
        assert self.curvature is not None
        return self.curvature.factors(m, self.reading["device"])

    def _newton_part(self, m: int) -> Part:
        return self._drawn(self.solving.examples, "gauss-newton", m)

    def _drawn(self, size: int, use: str, m: int) -> Part:
        return sampled(self.pool, size, self.seed, use, m, batch_tokens=self.options.batch_tokens)


def gradient_rows(engine: GradientEngine, part: Part) -> Iterator[tuple[Shares, Float[Tensor, "b p"]]]:
    """The whole gradients of the windows of a part, batch by batch, some 256 MB at a time."""
    for shares, batch in part.batches(max(1, HELD // engine.size)):
        rows = Rows(len(shares), engine.size, dtype=engine.dtype, device=engine.device)
        engine.read(batch, rows)
        yield shares, rows.values
