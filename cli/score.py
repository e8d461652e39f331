"""`thresher score`: what each pool example does to the targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from thresher.choices import Backend, Convention, Goal, Output, Projection, Q, View
from thresher.cli.command import Command, made, named_paths
from thresher.errors import InputError
from thresher.progress import Progress

if TYPE_CHECKING:
    from thresher.api.scorer_check import Asked


@dataclass(frozen=True, kw_only=True)
class Score(Command):
    """Scores of a pool for one or several targets: one column a target, higher = more helpful.

    Give prepared examples and --models, or features (from `thresher featurize`), which trak alone reads.
    """

    usage = """
    thresher score --pool pool --targets squad=target --models proxy-0 proxy-1 --out scores
    thresher score --scorer ekfac --pool pool --targets squad=target --models proxy-0 --out scores-ekfac
    thresher score --pool pool-features --targets squad=target-features --out scores-trak
    """

    former = {"--method": "--scorer (auto, trak, direction or dual)"}  # noqa: RUF012

    pool: Path
    """The pool's features, or a prepared pool."""
    targets: tuple[str, ...] = ()
    """NAME=PATH of each target's features, or of prepared targets."""
    out: Path
    """Where the scores artefact goes (scores.parquet: id, domain, a column a target)."""
    models: tuple[str, ...] = ()
    """With prepared examples: the proxies to attribute with; features have theirs."""
    scorer: str = "auto"
    """trak (of projected gradients); dual: the same without a projection, exact, for pools of up to some ten thousand
    examples; direction: without a projection and with nothing stored, for few targets and any pool; ekfac or ekfac-cg
    (influence by inverse curvature); ekfac+bm25 (of texts: the mean of the two, in units of their spread); metagradient
    or adamw-influence (back through the training of --models, exactly or by first order); trackstar or grad-cosine
    (cosines of gradients); embedding; bm25 (texts, no models); random. auto: for prepared examples and at most 4
    targets, where nothing is asked that needs features, ekfac of text under a language model and direction of examples
    with classes; else trak."""
    self_influence: bool = False
    """In place of targets: what each pool example does to itself (large: rare, hard or mislabelled)."""
    backend: Backend = "thresher"
    """thresher, or traker: trak by the traker package (slow, on the CPU; with prepared examples and --models)."""
    damping: float | Literal["loo"] | None = None
    """Of trak, dual, direction and trackstar: a multiple of the kernel's mean diagonal (None: 3 with direction and
    dual, whose kernel is that of examples; with features 1, but at least as much as these have); loo, with features:
    chosen on the pool by leave-one-out prediction. With another package's convention or backend: lambda itself (None:
    0)."""
    curvature_damping: float | None = None
    """Of the ekfac scorers: a multiple of the mean eigenvalue of each group of parameters; None: .1."""
    q: Q | None = None
    """What scores are multiplied by: sqrt (of 1 - p, the mean over checkpoints), mean (1 - p itself: TRAK's),
    none (1), square; None: sqrt, none where labels are the goal, square with --self-influence, or mean with another
    package's convention or backend."""
    convention: Convention = "thresher"
    """With features: thresher, traker (its kernel's normaliser) or dattri."""
    goal: Goal = "auto"
    """labels: tell right labels from wrong ones (target examples weigh by how well they are predicted; q none);
    selection: predict retraining (a plain mean); auto: labels where pool and targets are labelled with classes (images,
    text prepared by --classify), with another convention selection."""
    top: int = 0
    """Also keep the so many most helpful and most harmful examples for every single target example (top.parquet)."""
    per_token: int = 0
    """Of direction, ekfac and ekfac-cg, for text: also keep which tokens carried the scores (tokens.parquet: target,
    id, position, token, text, value), of the so many highest and lowest scores of each target; the size of the pool:
    of all."""
    k: int | None = None
    """With features to be made: numbers a gradient is projected to; None: 8,192 of text under a language model, else
    4,096."""
    projection: Literal["auto"] | Projection = "auto"
    views: tuple[View, ...] = ()
    """Of images: flip and shift, which the gradients of pool and targets are averaged over."""
    output: Output = "margin"
    """With prepared examples: margin (log p / (1 - p), TRAK's) or loss."""
    parameters: str | None = None
    """With prepared examples: a regular expression; only the gradients of the parameters it finds."""
    sample: int = 2000
    """Pool examples that stand for the pool, with direction in the kernel (all of them: exact), with ekfac in the
    curvature."""
    steps: int = 20
    """With ekfac-cg: conjugate gradients at most."""
    window: int | None = None
    """With metagradient and adamw-influence: the last so many steps of training; None: all."""
    rank: int | None = None
    """Of the ekfac scorers, for many targets: solve and score along so many combinations of them; None: one direction
    a target, exact."""
    memory_gb: float = 4.0
    """With direction and dual: for the kernel and the gradients held at once."""
    evidence: Path | None = None
    """A folder for what had to be made (features, factors of the curvature), which scores and selections can share;
    none: beside --out."""
    batch_tokens: int | None = None
    """With prepared examples: tokens (or images) in a batch; None: chosen."""
    seed: int = 0
    device: str = "auto"

    def check(self) -> None:
        """Refuse also what does not go with the scorer."""
        from thresher.api.scorer_check import check_scorer

        super().check()
        if self.self_influence and self.targets:
            raise InputError("--self-influence scores each example for itself; leave out --targets")
        check_scorer(self.scorer, self.asked)

    @property
    def asked(self) -> "Asked":
        """What is asked of the scorer."""
        from thresher.api.scorer_check import Asked

        return Asked(**{field.name: getattr(self, field.name) for field in fields(Asked)})

    def run(self, progress: Progress) -> dict[str, Any]:
        """Score the pool."""
        from thresher.api.scorer_check import say_idle
        from thresher.api.scoring import score, self_influence
        from thresher.scores import check_names

        shared = {
            "out": self.out,
            "models": self.models,
            "damping": self.damping,
            "q": self.q,
            "convention": self.convention,
            "k": self.k,
            "projection": self.projection,
            "output": self.output,
            "parameters": self.parameters,
            "batch_tokens": self.batch_tokens,
            "evidence": self.evidence,
            "seed": self.seed,
            "device": self.device,
            "progress": progress,
        }
        if self.self_influence:
            say_idle([self.scorer], self.asked)
            return made(self_influence(self.pool, **shared).artifact)
        targets = named_paths(self.targets, "--targets")
        check_names(targets)
        scores = score(
            self.pool,
            targets,
            scorer=self.scorer,
            steps=self.steps,
            window=self.window,
            backend=self.backend,
            curvature_damping=self.curvature_damping,
            goal=self.goal,
            top=self.top,
            per_token=self.per_token,
            rank=self.rank,
            views=self.views,
            sample=self.sample,
            memory_gb=self.memory_gb,
            **shared,
        )
        return made(scores.artifact)

    def then(self, result: Mapping[str, Any]) -> Sequence[object] | None:
        """The command that comes next."""
        from thresher.cli.following import after_scoring

        return None if self.self_influence else after_scoring(self.pool, self.out)

    def show(self, result: Mapping[str, Any]) -> str:
        """A line a target."""
        count = result["num_examples"]
        lines = [f"path: {result['path']}", f"{count:,} examples scored"]
        for name, found in result["targets"].items():
            line = f"{name}: mean {found['mean']:.4g}, standard deviation {found['sd']:.4g}"
            if found["tied"]:
                line += f"; {found['tied']:,} examples share their score with others: the order among them says nothing"
            for fact, word in (("agreement", "about"), ("agreement_at_most", "at most")):
                if (agreement := result.get(fact, {}).get(name)) is not None:
                    line += f"; agreement with scores without projection {word} {agreement:.2f}"
            lines.append(line)
        return "\n".join(lines)


COMMAND = Score
