"""The ways to score a pool for a target, by name: what each is, needs and costs, known without loading any of them."""

from dataclasses import dataclass

from thresher.errors import unknown


@dataclass(frozen=True)
class Scorer:
    """One way to score."""

    about: str
    needs: tuple[str, ...]
    """Of `models` (checkpoints), `texts` and `training` (models that can be trained again, step by step)."""
    cost: str
    """In passes: one is a forward and a backward pass over the pool."""


SCORERS: dict[str, Scorer] = {
    "trak": Scorer("TRAK, the kernel of projected gradients (2303.14186)", ("models",), "1 a model, kept as features"),
    "dual": Scorer("TRAK without a projection, exact", ("models",), "n / batch a model: up to some ten thousand"),
    "direction": Scorer("TRAK without a projection, one direction a target", ("models",), "1 to 1.3 a model"),
    "ekfac": Scorer("influence by the EK-FAC inverse (2308.03296)", ("models",), "2 to 2.5 a model"),
    "ekfac-cg": Scorer("EK-FAC, improved by conjugate gradients", ("models",), "3 to 4 a model"),
    "metagradient": Scorer(
        "exact, back through training (MAGIC, 2504.16430)", ("training",), "3 to 5 trainings a target"
    ),
    "adamw-influence": Scorer("back through AdamW without double backward", ("training",), "3 trainings a target"),
    "trackstar": Scorer("cosine of whitened projected gradients (2410.17413)", ("models",), "as trak"),
    "grad-cosine": Scorer("cosine of projected gradients", ("models",), "as trak"),
    "embedding": Scorer("cosine of hidden states", ("models",), "a third: forward alone"),
    "bm25": Scorer("shared rare words (Robertson et al. 1994)", ("texts",), "none"),
    "random": Scorer("random numbers, what any other must beat", (), "none"),
}


def scorer_named(name: str, what: str = "scorer") -> Scorer:
    """The scorer of a name. Raises InputError for one that is not there, with the nearest and all that are."""
    if name not in SCORERS:
        raise unknown(what, name, SCORERS)
    return SCORERS[name]
