"""The ways to score a pool for a target, by name: what each is, needs and costs, known without loading any of them."""

from dataclasses import dataclass

from thresher.errors import unknown


@dataclass(frozen=True)
class Scorer:
    """One way to score."""

    about: str
    needs: tuple[str, ...]
    """Of `models` (checkpoints), `texts` and `training` (models that can be trained again, step by step)."""
    passes: float
    """What it takes a model: forward and backward passes over the pool, or with `training` trainings a target."""


SCORERS: dict[str, Scorer] = {
    "trak": Scorer("TRAK, the kernel of projected gradients (2303.14186)", ("models",), 1.0),
    "dual": Scorer("TRAK without a projection, exact: up to some ten thousand examples", ("models",), 3.0),
    "direction": Scorer("TRAK without a projection, one direction a target", ("models",), 2.0),
    "ekfac": Scorer("influence by the EK-FAC inverse (2308.03296)", ("models",), 2.5),
    "ekfac-cg": Scorer("EK-FAC, improved by conjugate gradients (2507.14740)", ("models",), 4.0),
    "metagradient": Scorer("exactly back through training (MAGIC, 2504.16430)", ("training",), 6.5),
    "adamw-influence": Scorer("back through AdamW without double backward (2605.18814)", ("training",), 4.5),
    "trackstar": Scorer("cosine of whitened projected gradients (2410.17413)", ("models",), 1.0),
    "grad-cosine": Scorer("cosine of projected gradients", ("models",), 1.0),
    "embedding": Scorer("cosine of hidden states", ("models",), 0.33),
    "bm25": Scorer("rare words in common (Robertson et al. 1994)", ("texts",), 0.0),
    "random": Scorer("random numbers, which any other must beat", (), 0.0),
}


def effort_of(name: str) -> dict[str, float]:
    """What a scorer takes, as `selection_flops` counts it: passes over the pool a model, or trainings a target."""
    scorer = SCORERS[name]
    return {"trainings" if "training" in scorer.needs else "passes": scorer.passes}


def scorer_named(name: str, what: str = "scorer") -> Scorer:
    """The scorer of a name. Raises InputError for one that is not there, with the nearest and all that are."""
    if name not in SCORERS:
        raise unknown(what, name, SCORERS)
    return SCORERS[name]
