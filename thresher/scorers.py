"""The ways to score a pool for a target, by name: what each is, needs and costs, known without loading any of them."""

from dataclasses import dataclass

from thresher.errors import unknown
from thresher.shown import duration, size_of

KERNEL, CURVATURE, LOO = "damping", "curvature_damping", "loo"
READING = frozenset({"output", "parameters", "batch_tokens"})
"""Options of whatever reads gradients."""
PROJECTING = READING | {"k", "projection", "views"}
KERNEL_OF_FEATURES = PROJECTING | {KERNEL, LOO}
EXACT = READING | {KERNEL, "q", "goal", "views", "memory_gb"}
CURVED = READING | {CURVATURE, "goal", "views", "sample", "rank"}


@dataclass(frozen=True)
class Scorer:
    """One way to score. What it costs is in forward and backward passes over the pool a model, as measured."""

    needs: tuple[str, ...]
    """Of `models` (checkpoints), `texts` and `training` (models that can be trained again, step by step)."""
    passes: float
    """For one target: passes over the pool, or with `training` trainings of the model."""
    further: float = 0.0
    """For each target more."""
    sampled: float = 0.0
    """Passes over the sample of the pool that stands for it."""
    paired: float = 0.0
    """For each pair of examples of the sample, in passes over one example: of their inner product."""
    stepped: float = 0.0
    """Passes over the examples of the Gauss-Newton matrix, for each step and target."""
    takes: frozenset[str] = frozenset()
    """The options that say how it scores; others say nothing to it. `loo`: that damping may be chosen so."""

    @property
    def damping(self) -> str | None:
        """The option that damps it: `damping`, in mean diagonals of the kernel, or `curvature_damping`, in mean
        eigenvalues of each group of parameters.
        """
        return next((option for option in (KERNEL, CURVATURE) if option in self.takes), None)

    @property
    def is_along(self) -> bool:
        """Whether its scores are slopes along a direction, which the tokens of an example share out among them."""
        return "per_token" in self.takes


SCORERS: dict[str, Scorer] = {
    # TRAK, the kernel of projected gradients (2303.14186); without a projection, exact, up to some ten thousand
    # examples; without a projection, one direction a target
    "trak": Scorer(("models",), 1.0, takes=KERNEL_OF_FEATURES | {"q", "goal", "convention", "top"}),
    "dual": Scorer(("models",), 1.0, paired=0.005, takes=EXACT | {"top"}),
    "direction": Scorer(("models",), 1.3, 0.3, sampled=1.0, paired=0.005, takes=EXACT | {"sample", "per_token"}),
    # influence by the EK-FAC inverse (2308.03296); the same, improved by conjugate gradients (2507.14740)
    "ekfac": Scorer(("models",), 1.3, 0.3, sampled=3.0, takes=CURVED | {"per_token"}),
    "ekfac-cg": Scorer(("models",), 1.3, 0.3, sampled=3.0, stepped=2.0, takes=CURVED | {"per_token", "steps"}),
    "ekfac+bm25": Scorer(("models", "texts"), 1.3, 0.3, sampled=3.0, takes=CURVED),  # the mean of the two
    # back through training, exactly (MAGIC, 2504.16430); without double backward (2605.18814)
    "metagradient": Scorer(("training",), 6.5, 3.3, takes=frozenset({"window", "output"})),
    "adamw-influence": Scorer(("training",), 4.5, 2.5, takes=frozenset({"window", "output"})),
    # cosine of whitened projected gradients (2410.17413); of projected gradients as they are
    "trackstar": Scorer(("models",), 1.0, takes=KERNEL_OF_FEATURES),
    "grad-cosine": Scorer(("models",), 1.0, takes=PROJECTING),
    "embedding": Scorer(("models",), 0.33),  # cosine of hidden states
    "bm25": Scorer(("texts",), 0.0),  # rare words in common (Robertson et al. 1994)
    "random": Scorer((), 0.0),  # what any other must beat
}
TRAKER = frozenset({KERNEL, "q", "k", "projection"})
"""What the traker package takes of `trak`: with anything else it would give other scores than were asked."""
HOW = frozenset({"k", "projection", "q", "sample", "steps", "memory_gb", "batch_tokens"})
"""Options of how scores are computed, not of what is asked: one that a scorer has no use for is warned about."""
NEEDED = {
    "models": "checkpoints",
    "texts": "the texts",
    "training": "checkpoints of thresher train in float32, and the pool they were trained on",
}


@dataclass(frozen=True, kw_only=True)
class Work:
    """How much there is to score, and how: what the passes of a scorer depend on."""

    num_examples: int
    num_models: int = 1
    num_targets: int = 1
    """Columns of scores."""
    each: bool = False
    """Whether they are single target examples, whose directions meet the gradients of the pool in one pass."""
    sample: int = 2000
    """Examples that stand for the pool."""
    steps: int = 20
    """Of conjugate gradients, at most."""
    examples: int = 256
    """Of the Gauss-Newton matrix."""
    views: int = 1
    """How often each example is read."""

    def passes(self, name: str) -> float:
        """Passes over the pool a model, or trainings of it, that a scorer takes."""
        name = "dual" if self.each and name == "direction" else name
        scorer, size = SCORERS[name], max(1, self.num_examples)
        passes = scorer.passes + scorer.further * (0 if self.each else self.num_targets - 1)
        sample = size if name == "dual" else min(size, self.sample)
        passes += (scorer.sampled + scorer.paired * sample) * sample / size
        passes += scorer.stepped * self.steps * self.num_targets * min(1.0, self.examples / size)
        return passes if "training" in scorer.needs else passes * self.views


def said_before(
    name: str, work: Work, seconds: float | None = None, *, more: float = 0.0, memory: float, note: str = ""
) -> str:
    """One line about what a scorer takes and needs.

    `seconds`: of a pass under a model, or of a training; None: not known. `more` seconds are beside the passes.
    `memory`: bytes, those of the process with them.
    """
    scorer, passes = SCORERS[name], work.passes(name)
    unit = "trainings of" if "training" in scorer.needs else "pass over" if f"{passes:.2g}" == "1" else "passes over"
    models = "" if name in ("bm25", "random") else f", {work.num_models} model{'s' * (work.num_models != 1)}"
    needed = " and ".join(NEEDED[need] for need in scorer.needs) or "nothing"
    line = f"{name}: about {passes:.2g} {unit} {work.num_examples:,} examples{models}; needs {needed}"
    if seconds is not None and passes:
        line += f"; about {duration(seconds * passes * work.num_models + more)} on this machine"
    line += f"; {size_of(memory)} of memory at most"
    return f"{line}; {note}" if note else line


def effort_of(name: str, work: Work) -> dict[str, float]:
    """What a scorer takes, as `selection_flops` counts it: passes over the pool a model, or trainings a target."""
    if "training" in SCORERS[name].needs:
        return {"trainings": work.passes(name) / work.num_targets}
    return {"passes": work.passes(name)}


def scorer_named(name: str) -> Scorer:
    """The scorer of a name. Raises InputError for one that is not there, with the nearest and all that are."""
    if name not in SCORERS:
        raise unknown("scorer", name, SCORERS)
    return SCORERS[name]
