"""The ways to score a pool for a target, by name: what each is, needs and costs, known without loading any of them."""

from dataclasses import dataclass

from thresher.errors import unknown


@dataclass(frozen=True)
class Scorer:
    """One way to score."""

    needs: tuple[str, ...]
    """Of `models` (checkpoints), `texts` and `training` (models that can be trained again, step by step)."""
    passes: float
    """What it takes a model: forward and backward passes over the pool, or with `training` trainings a target."""
    damping: str | None = None
    """The option that damps it: `damping`, in mean diagonals of the kernel, or `curvature_damping`, in mean eigenvalues
    of each group of parameters."""


KERNEL, CURVATURE = "damping", "curvature_damping"
SCORERS: dict[str, Scorer] = {
    "trak": Scorer(("models",), 1.0, KERNEL),  # TRAK, the kernel of projected gradients (2303.14186)
    "dual": Scorer(("models",), 3.0, KERNEL),  # TRAK without a projection, exact: up to some ten thousand examples
    "direction": Scorer(("models",), 2.0, KERNEL),  # TRAK without a projection, one direction a target
    "ekfac": Scorer(("models",), 2.5, CURVATURE),  # influence by the EK-FAC inverse (2308.03296)
    "ekfac-cg": Scorer(("models",), 4.0, CURVATURE),  # EK-FAC, improved by conjugate gradients (2507.14740)
    "metagradient": Scorer(("training",), 6.5),  # exactly back through training (MAGIC, 2504.16430)
    "adamw-influence": Scorer(("training",), 4.5),  # back through AdamW without double backward (2605.18814)
    "trackstar": Scorer(("models",), 1.0, KERNEL),  # cosine of whitened projected gradients (2410.17413)
    "grad-cosine": Scorer(("models",), 1.0),  # cosine of projected gradients
    "embedding": Scorer(("models",), 0.33),  # cosine of hidden states
    "bm25": Scorer(("texts",), 0.0),  # rare words in common (Robertson et al. 1994)
    "random": Scorer((), 0.0),  # what any other must beat
}


def effort_of(name: str) -> dict[str, float]:
    """What a scorer takes, as `selection_flops` counts it: passes over the pool a model, or trainings a target."""
    scorer = SCORERS[name]
    return {"trainings" if "training" in scorer.needs else "passes": scorer.passes}


def scorer_named(name: str) -> Scorer:
    """The scorer of a name. Raises InputError for one that is not there, with the nearest and all that are."""
    if name not in SCORERS:
        raise unknown("scorer", name, SCORERS)
    return SCORERS[name]
