"""`thresher lds`: how well attribution predicts what retraining on subsets does."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from thresher.choices import Executor, Optimizer, Output, Projection, Q, Schedule, View
from thresher.cli.command import made, named_paths
from thresher.cli.options import ModelOptions
from thresher.progress import Progress
from thresher.scorers import scorer_named


@dataclass(frozen=True, kw_only=True)
class Lds(ModelOptions):
    """The linear datamodeling score of TRAK and of baselines, against models retrained on random subsets of the pool.

    Trains checkpoints to attribute with and --subsets x --repeats models for the ground truth, which later calls with
    other scorers, options or checkpoints find again. Everything is under --out; run the same command again to resume.
    """

    usage = """
    thresher lds --pool pool --target target --subsets 50 --out lds
    thresher lds --pool pool --target target --scorers trak ekfac bm25 --workers 4 --out lds
    """

    makes = "workspace"

    pool: Path
    """A prepared pool."""
    target: Path
    """A prepared target: scores are judged on each of its examples."""
    out: Path
    """A folder for the ground truth, checkpoints, features and results."""
    model: str = "0.4M"
    """Parameters ("0.4M"), or a name (rn-1/16, mlp-64x2, module:function): of checkpoints and ground truth alike."""
    scorers: tuple[str, ...] = ()
    """Some of trak, dual (exact, no projection), ekfac, ekfac-cg, ekfac+bm25 (text), trackstar, grad-cosine, embedding,
    bm25 (text), random; none: trak and the cheap ones."""
    scores: tuple[str, ...] = ()
    """NAME=FILE.npy of more scores to judge, [pool, target] in their order, higher = more helpful."""
    subsets: int = 100
    fraction: float = 0.5
    """Of the pool in each subset. Values of LDS at different fractions do not compare."""
    repeats: int = 2
    """Seeds that every subset is retrained from, the same for all: two or more give the noise ceiling."""
    checkpoints: int = 5
    """Models to attribute with."""
    checkpoint_fraction: float = 1.0
    """Of the pool that each of them is trained on, a random part of its own; halves score better (docs/scorers.md)."""
    k: int | None = None
    projection: Literal["auto"] | Projection = "auto"
    rank: int | None = None
    """Of the ekfac scorers: solve and score along so many combinations of the target examples; None: along each."""
    curvature_damping: float = 0.1
    """Of the ekfac scorers: a multiple of the mean eigenvalue of each group of parameters."""
    views: tuple[View, ...] = ()
    """Of images: flip and shift, which features are averaged over."""
    damping: float | Literal["loo"] | None = None
    q: Q = "sqrt"
    """What scores are multiplied by: sqrt (of 1 - p, the mean over checkpoints), mean (1 - p itself: TRAK's), none."""
    output: Output = "margin"
    """What retraining is measured by: margin or loss."""
    baseline: str = "random"
    """The scorer that differences and ratios are to."""
    ladder: tuple[str, ...] = ()
    """Sizes to attribute with instead, against ground truth from --model, the reference: LDS by size and cost."""
    own: bool = True
    """With --ladder: judge every size by its own retrainings too."""
    top: int = 100
    """With --ladder: how many of the most helpful examples are compared with those of the reference."""
    epochs: float | None = None
    """None: 1 for language, 30 for vision."""
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    """cosine, linear, onecycle or constant; None: cosine for language, onecycle for vision."""
    momentum: float | None = None
    weight_decay: float | None = None
    workers: int | None = None
    """Trainings at once; None: one a core, or one on a GPU."""
    executor: Executor = "processes"
    """Where runs are done: processes (of this machine), or ray (a cluster, see docs/training.md)."""
    seed: int = 0
    device: str = "auto"

    def check(self) -> None:
        """Refuse also scorers that there are not."""
        super().check()
        for name in self.scorers:
            scorer_named(name)

    def run(self, progress: Progress) -> dict[str, Any]:
        """Retrain, score and compare."""
        from thresher.api.judging import lds

        quality = lds(
            self.pool,
            self.target,
            out=self.out,
            model=self.model,
            scorers=self.scorers,
            scores=named_paths(self.scores, "--scores") if self.scores else None,
            subsets=self.subsets,
            fraction=self.fraction,
            repeats=self.repeats,
            checkpoints=self.checkpoints,
            checkpoint_fraction=self.checkpoint_fraction,
            k=self.k,
            projection=self.projection,
            views=self.views,
            damping=self.damping,
            curvature_damping=self.curvature_damping,
            rank=self.rank,
            q=self.q,
            output=self.output,
            baseline=self.baseline,
            ladder=self.ladder,
            own=self.own,
            top=self.top,
            workers=self.workers,
            executor=self.executor,
            seed=self.seed,
            device=self.device,
            progress=progress,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            schedule=self.schedule,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            **self.model_options(),
        )
        return made(quality.artifact)

    def show(self, result: Mapping[str, Any]) -> str:
        """A line a scorer, the best first."""
        if result["kind"] == "lds-ladder":
            from thresher.studies.experiments.lds_by_size import show

            return "\n".join([f"path: {result['path']}", *show(result)])
        lines = [
            f"path: {result['path']}",
            f"LDS over {result['num_subsets']} subsets of {result['fraction']:.0%} x {result['repeats']} retrainings, "
            f"{result['num_targets']} targets, with 95 % intervals over subsets and targets",
        ]
        rows = sorted(result["table"].items(), key=lambda row: -row[1]["lds"]["mean"])
        lines += [f"  {name:<20} {_interval(row['lds'])}" for name, row in rows]
        if result["level_share"] > LEVEL_SHARE and result["relative"]:
            lines.append(
                f"{result['level_share']:.0%} of what retraining shows moves all targets alike (a training that went "
                "well or badly); without it:"
            )
            rows = sorted(result["relative"].items(), key=lambda row: -row[1]["lds"]["mean"])
            lines += [f"  {name:<20} {_interval(row['lds'])}" for name, row in rows]
        if "ceiling" in result:
            lines.append(f"  {'(noise ceiling)':<20} {_interval(result['ceiling']['ceiling'])}")
        return "\n".join(lines)


LEVEL_SHARE = 0.2
"""Beyond it the LDS without the level is shown too."""


def _interval(estimate: Mapping[str, float]) -> str:
    return f"{estimate['mean']:+.3f} [{estimate['low']:+.3f}, {estimate['high']:+.3f}]"


COMMAND = Lds
