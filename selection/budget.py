"""How many examples to keep."""

from thresher.errors import InputError


def num_to_keep(num_pool: int, *, fraction: float | None = None, count: int | None = None) -> int:
    """How many of `num_pool` examples to keep, from a share in (0, 1] (rounded, at least 1) or a count; exactly one."""
    if num_pool < 1:
        raise InputError("the pool is empty; give a pool with at least one example")
    if (fraction is None) == (count is None):
        raise InputError(f"fraction={fraction} and count={count} given; pass exactly one of them")
    if fraction is not None:
        if not 0 < fraction <= 1:
            raise InputError(f"fraction {fraction} is outside (0, 1]; pass the share of the pool to keep, such as 0.2")
        return max(1, round(fraction * num_pool))
    assert count is not None
    if not 1 <= count <= num_pool:
        raise InputError(f"{count} examples asked for, but the pool has {num_pool}; pass a count from 1 to {num_pool}")
    return count
