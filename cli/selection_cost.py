"""What selecting by attribution costs, in FLOPs, stage by stage."""

from collections.abc import Sequence

from thresher.artifacts import Artifact


def selection_flops(
    proxies: Sequence[Artifact], *, num_pool: int, num_targets: int, num_target_examples: int, k: int | None
) -> dict[str, float]:
    """Of training the proxies, featurising pool and targets, and scoring; the last two with features alone (`k`).

    Featurising is a forward and a backward pass, like training; scoring builds and factors a k x k kernel a checkpoint
    and multiplies the pool by one vector a target.
    """
    flops = {"train": float(sum(proxy.facts["flops"] for proxy in proxies))}
    if k is not None:
        an_example = sum(proxy.facts["flops"] / proxy.facts["num_examples_seen"] for proxy in proxies)
        flops["featurize"] = (num_pool + num_target_examples) * an_example
        flops["score"] = len(proxies) * (2.0 * num_pool * k * (k + num_targets) + k**3)
    return flops
