"""`thresher lds`: how well attribution predicts what retraining on subsets does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from thresher.cli.command import made, named_paths
from thresher.cli.options import ModelOptions


@dataclass(frozen=True, kw_only=True)
class Lds(ModelOptions):
    """The linear datamodeling score of TRAK and of baselines, against models retrained on random subsets of the pool.

    Trains checkpoints to attribute with and --subsets x --repeats models for the ground truth, which later calls with
    other scorers, options or checkpoints find again. Everything is under --out; run the same command again to resume.
    """

    pool: Path
    """A prepared pool."""
    target: Path
    """A prepared target: scores are judged on each of its examples."""
    out: Path
    """A folder for the ground truth, checkpoints, features and results."""
    model: str = "0.4M"
    """Parameters ("0.4M"), or a name (rn-1/16, mlp-64x2, module:function): of checkpoints and ground truth alike."""
    scorers: tuple[str, ...] = ()
    """Some of trak, dual (exact, no projection), cosine (of gradients), embedding, bm25 (text), random; none: all that
    apply but dual."""
    scores: tuple[str, ...] = ()
    """NAME=FILE.npy of more scores to judge, [pool, target] in their order, higher = more helpful."""
    subsets: int = 100
    fraction: float = 0.5
    """Of the pool in each subset. Values of LDS at different fractions do not compare."""
    repeats: int = 2
    """Retrainings of each subset, from other seeds: two or more give the noise ceiling."""
    checkpoints: int = 5
    """Models on the whole pool to attribute with."""
    k: int = 512
    projection: str = "two-sided"
    views: tuple[str, ...] = ()
    """Of images: flip and shift, which features are averaged over."""
    damping: float | Literal["loo"] | None = None
    q: str = "sqrt"
    """What scores are multiplied by: sqrt (of 1 - p, the mean over checkpoints), mean (1 - p itself: TRAK's), none."""
    output: str = "margin"
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
    optimizer: str | None = None
    schedule: str | None = None
    """cosine, linear, onecycle or constant; None: cosine for language, onecycle for vision."""
    momentum: float | None = None
    weight_decay: float | None = None
    workers: int | None = None
    """Trainings at once; None: one a core, or one on a GPU."""
    executor: str = "processes"
    """Where runs are done: processes (of this machine), or ray (a cluster, see docs/training.md)."""
    seed: int = 0
    device: str = "auto"

    def run(self, progress):
        from thresher.data.examples import open_examples
        from thresher.errors import InputError
        from thresher.proxies.models.spec import task_of
        from thresher.proxies.settings import ModelSettings
        from thresher.proxies.trials import check_trainable
        from thresher.studies.experiments.lds_by_size import LadderPlan, lds_ladder
        from thresher.studies.experiments.retraining import retrain
        from thresher.studies.experiments.scorers import (
            SCORERS,
            Attribution,
            Scorers,
            check_scorers,
            judge,
            train_checkpoints,
        )
        from thresher.workspace import Workspace

        pool, target = open_examples(self.pool), open_examples(self.target)
        text_only = ("bm25",) if task_of(pool) != "language" else ()
        names = self.scorers or tuple(name for name in SCORERS if name not in ("dual", *text_only))
        if self.ladder and (self.scorers or self.scores):
            raise InputError("--ladder judges TRAK at every size; leave --scorers and --scores out")
        given = named_paths(self.scores, "--scores") if self.scores else {}
        check_scorers(names, pool)
        if self.output not in ("margin", "loss"):
            raise InputError(f"output {self.output!r} is unknown; pass margin or loss")
        table = ModelSettings(
            size=self.model,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            schedule=self.schedule,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            **self.model_options(),
        )
        workspace = Workspace(self.out, self.device, progress, self.executor)
        training = {"seed": self.seed, "workers": self.workers, "workspace": workspace}
        how = Attribution(
            k=self.k,
            projection=self.projection,
            views=self.views,
            damping=self.damping,
            q=self.q,
            seed=self.seed,
        )
        drawn = {"num_subsets": self.subsets, "fraction": self.fraction, "repeats": self.repeats}
        check_trainable(pool, table, {"target": target})
        if self.ladder:
            plan = LadderPlan(**drawn, checkpoints=self.checkpoints, own=self.own, top=self.top)
            return made(lds_ladder(pool, target, table, self.ladder, how, plan, **training))
        models = train_checkpoints(pool, table, count=self.checkpoints, **training)
        truth = retrain(pool, target, table, **drawn, **training)
        baseline = self.baseline if self.baseline in (*names, *given) else None
        scorers = Scorers(models, pool, target, how, workspace)
        options = {"given": given, "output": self.output, "baseline": baseline, "seed": self.seed}
        return made(judge(scorers, truth, names, **options))

    def show(self, result):
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
        if "ceiling" in result:
            lines.append(f"  {'(noise ceiling)':<20} {_interval(result['ceiling']['ceiling'])}")
        return "\n".join(lines)


def _interval(estimate) -> str:
    return f"{estimate['mean']:+.3f} [{estimate['low']:+.3f}, {estimate['high']:+.3f}]"


COMMAND = Lds
