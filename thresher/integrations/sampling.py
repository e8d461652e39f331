"""A selection, or a mixture of domains, as a `torch.utils.data.DataLoader` takes it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.utils.data import Sampler

from thresher.api.handle import Source
from thresher.api.handles import Selection
from thresher.errors import InputError
from thresher.seeds import derive


class SelectionSampler(Sampler[int]):
    """The kept examples of a selection as positions in your own data set, for `DataLoader(data, sampler=...)`.

    ids      the id of each of your examples, as the pool's were made (`data["id"]`): kept ones are found by it
    size     instead, where the pool holds every row of your data set in its order: how many there are
    shuffle  drawn anew each epoch, from `seed`; False: best first
    An example that is kept more than once comes as often. Raises InputError for a kept id that your data lack, for one
    that they have twice, and for a `size` that is not the pool's.
    """

    def __init__(
        self,
        selection: Source,
        *,
        ids: Sequence[str] | Shaped[np.ndarray, "n"] | None = None,
        size: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        handle = Selection.of(selection)
        self.shuffle, self.seed, self.epoch = shuffle, seed, 0
        if (ids is None) == (size is None):
            raise InputError("a sampler needs the ids of your examples, or their number as size; give one of them")
        names = None if ids is None else [str(id) for id in ids]
        if (
            names is not None
            and handle.facts.get("numbered_by") is not None
            and names != [*map(str, range(len(names)))]
        ):
            raise InputError(f"{handle.path} knows examples by their row numbers, which your ids are not; pass size=")
        self.positions = handle.positions if names is None else _found(handle.ids, names)
        pool = handle.facts["num_unique"] + handle.facts["num_dropped"]
        if size is not None and size != pool:
            raise InputError(
                f"the data set has {size} examples, but {handle.path} selects from {pool}; give their ids instead"
            )

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of this epoch next; by itself each pass is the next epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        order = self.positions
        if self.shuffle:
            order = np.random.default_rng(derive(self.seed, "sampler", self.epoch)).permutation(order)
        self.epoch += 1
        return iter(order.tolist())

    def __len__(self) -> int:
        return len(self.positions)


def mixture_weights(
    domains: Sequence[str] | Shaped[np.ndarray, "n"],
    mixture: Mapping[str, float],
    *,
    lengths: Any = None,
) -> Float[Tensor, "n"]:
    """The weight of each example [n] for `torch.utils.data.WeightedRandomSampler`, so that domains come in `mixture`.

    domains  the domain of each example
    mixture  domain -> share, as `thresher mix` proposes it; scaled to sum 1. Domains that are not in it do not come
    lengths  tokens of each example [n]: shares are then of tokens, otherwise of examples

    An example is drawn with probability in proportion to its weight m_d / (sum of the lengths of domain d), so the
    expected share of the tokens of domain d is m_d. Raises InputError for a domain without examples, for shares below 0
    or without a sum, and for lengths of another number.
    """
    own = np.asarray(domains, dtype=str)
    shares = np.array(list(mixture.values()), dtype=np.float64)
    if not len(shares) or not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() <= 0:
        raise InputError(f"mixture {dict(mixture)} is no shares; give numbers of 0 or more with a sum above 0")
    sizes = np.ones(len(own)) if lengths is None else np.asarray(lengths, dtype=np.float64)
    if sizes.shape != own.shape or not (np.isfinite(sizes) & (sizes >= 0)).all():
        raise InputError(f"{len(sizes)} lengths for {len(own)} examples; give one of each, 0 or more")
    weights = np.zeros(len(own))
    for domain, share in zip(mixture, shares / shares.sum(), strict=True):
        held = own == domain
        total = float(sizes[held].sum())
        if share > 0 and total == 0:
            raise InputError(f"mixture asks for {share:.3g} of the domain {domain!r}, but no example is of it")
        weights[held] = share / total if total else 0.0
    return torch.from_numpy(weights)


def _found(kept: Sequence[str], ids: Sequence[str]) -> np.ndarray:
    """Where each kept id stands among `ids`."""
    places = {id: place for place, id in enumerate(ids)}
    if len(places) < len(ids):
        raise InputError(f"the data set's ids are not unique ({len(ids) - len(places)} occur again); give unique ones")
    missing = next((id for id in kept if id not in places), None)
    if missing is not None:
        raise InputError(f"the selection keeps {missing!r}, which is no id of the data set; give the pool's own ids")
    return np.array([places[id] for id in kept], dtype=np.int64)
