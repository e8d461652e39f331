"""`thresher score`: what each pool example does to the targets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from thresher.cli.command import Command, made, named_paths

METHODS = ("features", "direction", "dual")


@dataclass(frozen=True, kw_only=True)
class Score(Command):
    """TRAK scores of a pool for one or several targets: one column a target, higher = more helpful.

    Give features (from `thresher featurize`), or prepared examples and --models; then features are made beside --out,
    or none at all with --method direction or dual.
    """

    pool: Path
    """The pool's features, or a prepared pool."""
    targets: tuple[str, ...] = ()
    """NAME=PATH of each target's features, or of prepared targets."""
    out: Path
    """Where the scores artefact goes (scores.parquet: id, domain, a column a target)."""
    models: tuple[str, ...] = ()
    """With prepared examples: the proxies to attribute with."""
    method: str = "features"
    """features: of projected gradients; dual: exact, no projection, for pools of up to some ten thousand examples;
    direction: no projection and nothing stored, for pools too large to featurise and a few targets."""
    self_influence: bool = False
    """In place of targets: what each pool example does to itself (large: rare, hard or mislabelled)."""
    backend: str = "thresher"
    """thresher, or traker: the traker package (slow; with prepared examples and --models)."""
    damping: float | Literal["loo"] | None = None
    """A multiple of the kernel's mean diagonal (None: 1 with features, 3 with direction and dual, whose kernel is that
    of examples); loo, with features: chosen on the pool by leave-one-out prediction."""
    q: str | None = None
    """What scores are multiplied by: sqrt (of 1 - p, the mean over checkpoints), mean (1 - p itself: TRAK's),
    none (1), square; None: sqrt, none where labels are the goal, square with --self-influence, or mean with another
    package's convention."""
    convention: str = "thresher"
    """With features: thresher, traker (its kernel's normaliser) or dattri."""
    goal: str = "auto"
    """labels: tell right labels from wrong ones (target examples weigh by how well they are predicted; q none);
    selection: predict retraining (a plain mean); auto: labels where pool and targets are labelled with classes (images,
    text prepared by --classify), with another convention selection."""
    top: int = 0
    """Also keep the so many most helpful and most harmful examples for every single target example (top.parquet)."""
    k: int = 512
    """With features to be made: numbers a gradient is projected to."""
    projection: str = "two-sided"
    output: str = "margin"
    """With prepared examples: margin (log p / (1 - p), TRAK's) or loss."""
    parameters: str | None = None
    """With prepared examples: a regular expression; only the gradients of the parameters it finds."""
    sample: int = 2000
    """With direction: pool examples that stand for the pool in the kernel; all of them: exact."""
    memory_gb: float = 4.0
    """With direction and dual: for the kernel and the gradients held at once."""
    batch_tokens: int | None = None
    """With prepared examples: tokens (or images) in a batch; None: chosen."""
    seed: int = 0
    device: str = "auto"

    def run(self, progress):
        from thresher.scores import check_names

        self._check()
        targets = {} if self.self_influence else named_paths(self.targets, "--targets")
        if targets:
            check_names(targets)
        if self.backend == "traker":
            return made(self._with_traker(targets, progress))
        if self.method == "features":
            return made(self._with_features(targets, progress))
        return made(self._without_features(targets, progress))

    def show(self, result):
        count = result["num_examples"]
        lines = [f"path: {result['path']}", f"{count:,} examples scored"]
        for name, found in result["targets"].items():
            line = f"{name}: mean {found['mean']:.4g}, standard deviation {found['sd']:.4g}"
            if found["tied"]:
                line += f"; {found['tied']:,} examples share their score with others: the order among them says nothing"
            lines.append(line)
        return "\n".join(lines)

    def _check(self):
        from thresher.errors import InputError

        if self.backend not in ("thresher", "traker"):
            raise InputError(f"backend {self.backend!r} is unknown; pass thresher or traker")
        if self.method not in METHODS:
            raise InputError(f"method {self.method!r} is unknown; pass one of: {', '.join(METHODS)}")
        if self.self_influence and self.targets:
            raise InputError("--self-influence scores each example for itself; leave out --targets")
        direct = self.method != "features"
        unfit = {
            "--backend traker": (direct or self.self_influence) and self.backend == "traker",
            "--self-influence": direct and self.self_influence,
            "--damping loo": direct and self.damping == "loo",
            f"--convention {self.convention}": direct and self.convention != "thresher",
            "--top": (self.method == "direction" or self.self_influence) and self.top != 0,
        }
        for option, is_unfit in unfit.items():
            if is_unfit:
                what = "--self-influence" if self.self_influence and not direct else f"--method {self.method}"
                raise InputError(f"{option} does not go with {what}; leave one of them out")

    def _with_features(self, targets, progress):
        from thresher.artifacts import open_artifact
        from thresher.attribution.features.store import open_features
        from thresher.attribution.scoring.scores import score, self_influence

        if open_artifact(self.pool).kind != "features":
            loaders, examples, others = self._examples(targets)
            stores = {name: self._featurize(f"target-{name}", loaders, own, progress) for name, own in others.items()}
            pool = self._featurize("pool", loaders, examples, progress)
        else:
            pool, stores = open_features(self.pool), {name: open_features(path) for name, path in targets.items()}
        options = {"damping": self.damping, "q": self.q, "convention": self.convention, "progress": progress}
        if self.self_influence:
            return self_influence(pool, out=self.out, **options)
        return score(pool, stores, out=self.out, top=self.top, goal=self._goal, **options)

    @property
    def _goal(self):
        return "selection" if self.goal == "auto" and self.convention != "thresher" else self.goal

    def _featurize(self, name, loaders, examples, progress):
        from thresher.attribution.features.featurize import featurize
        from thresher.attribution.features.store import open_features

        artifact = featurize(
            loaders,
            examples,
            out=self.out.with_name(f"{self.out.name}-features") / name,
            projection=self.projection,
            k=self.k,
            seed=self.seed,
            output=self.output,
            parameters=self.parameters,
            batch_tokens=self.batch_tokens,
            device=self.device,
            progress=progress,
        )
        return open_features(artifact.path)

    def _without_features(self, targets, progress):
        from thresher.attribution.scoring.direction import score_by_direction
        from thresher.attribution.scoring.dual import score_dual
        from thresher.attribution.scoring.options import Options

        assert self.damping != "loo"
        options = Options(
            damping=self.damping,
            q=self.q,
            goal=self._goal,
            output=self.output,
            parameters=self.parameters,
            memory_gb=self.memory_gb,
            batch_tokens=self.batch_tokens,
            device=self.device,
        )
        given, shared = self._examples(targets), {"out": self.out, "options": options, "progress": progress}
        if self.method == "dual":
            return score_dual(*given, top=self.top, **shared)
        return score_by_direction(*given, sample=self.sample, seed=self.seed, **shared)

    def _with_traker(self, targets, progress):
        from thresher.attribution.scoring.traker_backend import score_with_traker

        given = self._examples(targets)
        return score_with_traker(*given, out=self.out, k=self.k, seed=self.seed, progress=progress)

    def _examples(self, targets):
        """Models, pool and targets of methods that start from prepared examples."""
        from thresher.data.examples import open_examples
        from thresher.proxies.models.weights import loaders_of

        pool, others = open_examples(self.pool), {name: open_examples(path) for name, path in targets.items()}
        return loaders_of(self.models, pool, *others.values()), pool, others


COMMAND = Score
