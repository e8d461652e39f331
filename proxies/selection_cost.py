"""What selecting by attribution costs, in FLOPs, stage by stage."""

from collections.abc import Mapping, Sequence

from thresher.artifacts import Artifact
from thresher.data.examples import Examples


def selection_flops(
    proxies: Sequence[Artifact], *, pool: Examples, targets: Mapping[str, Examples], k: int | None
) -> dict[str, float]:
    """Of training the proxies, featurising pool and targets, and scoring; the last two with features alone (`k`).

    Featurising is a forward and a backward pass over every token (image), like training; scoring builds and factors a
    k x k kernel a checkpoint and multiplies the pool by one vector a target.
    """
    flops = {"train": float(sum(proxy.facts["flops"] for proxy in proxies))}
    if k is not None:
        a_unit = sum(proxy.facts["flops"] / units_seen(proxy) for proxy in proxies)
        flops["featurize"] = a_unit * float(sum(one.lengths().sum() for one in (pool, *targets.values())))
        flops["score"] = len(proxies) * (2.0 * len(pool) * k * (k + len(targets)) + k**3)
    return flops


def units_seen(model: Artifact) -> int:
    """Tokens, or images, that a model was trained on, repetitions counted."""
    facts = model.facts
    return facts["num_tokens_seen"] if "num_tokens_seen" in facts else facts["num_examples_seen"]
