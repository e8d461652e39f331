"""Which tokens, or images, each step sees: any subset, any mixture of domains, from the seed and the step alone.

A run is a stream of units (tokens of text, images) cut into batches. Whole documents stand in it one behind the other,
each with its end token; packed sequences are cut from it wherever they end. Prompts with their continuations, and
images, are sequences of their own. The stream is as long as the budget says, to the unit: what would go beyond it is
cut off. So two runs with equal budgets are trained on exactly the same amount, whatever their examples are.

With `shuffle_sequences`, the default, the packed sequences of each epoch are permuted before they are cut into batches:
else a batch is a stretch of the stream, which is few documents where these are long. The first sequence that begins in
a document stays where it is in the stream, whose documents are permuted anyway, and each other one goes to a place of
its own, which follows from the document. So texts shorter than a sequence, of which a batch holds many, stay in order,
and two subsets keep the relative order of what both have.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int

from thresher.data.examples import Examples, TokenExamples, is_packed
from thresher.errors import InputError
from thresher.outputs import Batch
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.segments import Segments
from thresher.seeds import numpy_rng

GOLDEN = 0.6180339887498949
"""The golden ratio's share: multiples of it, modulo 1, are spread evenly."""


class Drawn(NamedTuple):
    """A batch, and the position in the pool of the example that each of its tokens or images belongs to.

    `owners` is [b, t] for text, -1 where there is padding, and [b] for images and for texts with a class each.
    """

    batch: Batch
    owners: Int[np.ndarray, "b ..."]


class Order:
    """The stream of one run, cut into `num_steps` batches of sequences whose numbers differ by at most one.

    An epoch is `budget` units (None: as many as `indices` hold). Without a mixture it runs through a permutation of
    `indices`, then another if the budget goes beyond them; two subsets of one pool keep the same relative order for the
    same seed, so that their runs differ by the subset alone. With a mixture each domain gives its share of the epoch's
    units, in passes without replacement.
    """

    def __init__(
        self,
        examples: Examples,
        indices: Int[np.ndarray, "m"],
        mixture: dict[str, float] | None,
        config: TrainConfig,
        *,
        seed: int,
        budget: int | None = None,
    ):
        self.examples, self.seed, self.indices = examples, seed, indices
        self.is_packed = is_packed(examples)
        self.lengths = np.asarray(examples.lengths())
        held = int(self.lengths[indices].sum())
        self.budget = held if budget is None else budget
        if self.budget < 1:
            raise InputError(f"a budget of {budget} trains on nothing; pass 1 or more")
        self.occurrence = _occurrence(indices)
        self.members: dict[str, np.ndarray] = {}
        if mixture is not None:
            domains = examples.domains[indices]
            self.members = {name: indices[domains == name] for name in sorted(mixture) if mixture[name] > 0}
            self.quota = dict(zip(self.members, apportion(mixture, self.members, self.budget), strict=True))
        self.sequence_length = examples.sequence_length if isinstance(examples, TokenExamples) else 1
        unit = sequence_size(examples)
        self.num_units = config.num_units(self.budget, unit)
        self.is_shuffled = config.shuffle_sequences and self.is_packed
        self._kept: dict[int, tuple[Segments, np.ndarray]] = {}
        self._places: dict[int, np.ndarray] = {}
        self.rows = None if self.is_packed else self._draw_rows()
        self.num_sequences = -(-self.num_units // self.sequence_length) if self.rows is None else len(self.rows.example)
        # A last sequence that is cut before it predicts anything has no step to itself.
        most = self.num_sequences if self._end_predicts() else self.num_sequences - 1
        if not most:
            raise InputError(f"a training on {self.num_units} token(s), none of which is predicted; give it more")
        self.num_steps = min(config.num_steps(self.num_units, unit), most)

    @property
    def smallest_batch(self) -> int:
        """Sequences in the smallest batch."""
        return self.num_sequences // self.num_steps

    def batch(self, step: int) -> Drawn:
        """The sequences of a step, counted from 0, in the order in which they were drawn."""
        start, stop = (self.num_sequences * edge // self.num_steps for edge in (step, step + 1))
        if self.rows is not None:
            return self._separate(self.rows.at(slice(start, stop)))
        places = np.arange(start, stop)
        return self._packed(self._shuffled(places) if self.is_shuffled else places)

    def passes(self) -> dict[str, float]:
        """How many times an example of each domain is seen on average, or of `all` domains without a mixture."""
        epochs = self.num_units / self.budget
        if not self.members:
            return {"all": self.num_units / int(self.lengths[self.indices].sum())}
        held = {name: int(self.lengths[members].sum()) for name, members in self.members.items()}
        return {name: epochs * self.quota[name] / held[name] for name in self.members}

    def _end_predicts(self) -> bool:
        """Whether the last sequence has something to predict, as every whole one does."""
        if self.rows is None:
            return self.num_units % self.sequence_length != 1
        return bool((self._separate(self.rows.at(slice(-1, None))).batch["labels"] != -100).any())

    def _separate(self, rows: Segments) -> Drawn:
        """Each example a sequence of its own; one at the end of the stream may be cut short."""
        if not isinstance(self.examples, TokenExamples):
            return Drawn(self.examples.batch(rows.example), rows.example)
        windows, _ = self.examples.windows_of(rows.example)
        batch = self.examples.batch(windows)
        width = batch["input_ids"].shape[1]
        inside = np.arange(width) < rows.stop[:, None]
        if batch["labels"].ndim == 1:  # of whole texts
            batch["attention_mask"][torch.from_numpy(~inside)] = 0
            batch["input_ids"][torch.from_numpy(~inside)] = self.examples.layout.end_token
            return Drawn(batch, rows.example)
        batch["labels"][torch.from_numpy(~inside)] = -100
        batch["input_ids"][torch.from_numpy(~inside)] = self.examples.layout.end_token
        return Drawn(batch, np.where(inside, rows.example[:, None], -1))

    def _packed(self, sequences: Int[np.ndarray, "b"]) -> Drawn:
        """Sequences of the stream, by their numbers in it; the last one filled up."""
        examples = self.examples
        assert isinstance(examples, TokenExamples)
        at = (sequences[:, None] * self.sequence_length + np.arange(self.sequence_length)).ravel()
        at = at[at < self.num_units]
        epochs, owners, places = at // self.budget, np.empty_like(at), np.empty_like(at)
        for epoch in range(int(epochs.min()), int(epochs.max()) + 1):
            (segments, ends), is_in = self._epoch(epoch), epochs == epoch
            own = at[is_in] - epoch * self.budget
            row = np.searchsorted(ends, own, side="right")
            owners[is_in] = segments.example[row]
            places[is_in] = examples.offsets[segments.example[row]] + segments.stop[row] - (ends[row] - own)
        tokens = examples.stream[places].astype(np.int64)
        length = min(self.sequence_length, len(tokens)) if len(tokens) > 1 else 2
        missing = -len(tokens) % length
        tokens = np.append(tokens, np.full(missing, examples.layout.end_token)).reshape(-1, length)
        owners = np.append(owners, np.full(missing, -1)).reshape(-1, length)
        labels = np.where(owners >= 0, tokens, -100)
        labels[:, 0] = -100
        return Drawn({"input_ids": torch.from_numpy(tokens), "labels": torch.from_numpy(labels)}, owners)

    def _shuffled(self, places: Int[np.ndarray, "b"]) -> Int[np.ndarray, "b"]:
        """Which sequences of the stream stand at these places: each epoch's its own, one that is short at the end."""
        full = self.num_units // self.sequence_length
        epochs, found = places * self.sequence_length // self.budget, places.copy()
        for epoch in range(int(epochs.min()), int(epochs.max()) + 1):
            first, end = (min(-(-edge * self.budget // self.sequence_length), full) for edge in (epoch, epoch + 1))
            if epoch not in self._places:
                self._places = {epoch: self._permutation(epoch, np.arange(first, end))}
            is_in = (epochs == epoch) & (places < full)
            found[is_in] = first + self._places[epoch][places[is_in] - first]
        return found

    def _permutation(self, epoch: int, sequences: Int[np.ndarray, "s"]) -> Int[np.ndarray, "s"]:
        """An order of the sequences of an epoch by keys from 0 to 1: of the first that begins in a document, its place
        in the stream; of each other one a number drawn for the document and its turn in it.
        """
        segments, ends = self._epoch(epoch)
        rows = np.searchsorted(ends, sequences * self.sequence_length - epoch * self.budget, side="right")
        documents = segments.example[rows]
        most = self.lengths // self.sequence_length + 1  # that can begin in one pass over each document of the pool
        drawn = numpy_rng(self.seed, "sequences", epoch).random(int(most.sum()))
        times, turns = np.divmod(_occurrence(documents), most[documents])
        keys = (drawn[np.cumsum(most)[documents] - 1 - turns] + times * GOLDEN) % 1
        is_first = np.diff(rows, prepend=-1) > 0
        keys[is_first] = np.flatnonzero(is_first) / len(rows)
        return np.argsort(keys, kind="stable")

    def _draw_rows(self) -> Segments:
        """The rows of the whole run, epoch after epoch, the last one cut to the budget."""
        epochs, drawn = [], 0
        while drawn < self.num_units:
            epochs.append(self._epoch(len(epochs))[0])
            drawn += int((epochs[-1].stop - epochs[-1].start).sum())
        return Segments.joined(epochs).first(self.num_units)

    def _epoch(self, epoch: int) -> tuple[Segments, Int[np.ndarray, "s"]]:
        """The segments of an epoch and where they end; the last two are kept.

        In a plain dict: a cache around a method would hold the examples, and their open files, until a collection.
        """
        if epoch not in self._kept:
            for old in [*self._kept][:-1]:
                del self._kept[old]
            drawn = self._draw_epoch(epoch)
            self._kept[epoch] = drawn, drawn.ends
        return self._kept[epoch]

    def _draw_epoch(self, epoch: int) -> Segments:
        """Of packed text exactly `budget` units; of rows, whole ones until there are so many."""
        if not self.members:
            drawn = self._passes_over_all(epoch)
            return drawn.first(self.budget) if self.is_packed else drawn
        parts = [self._from_domain(name, epoch * quota, (epoch + 1) * quota) for name, quota in self.quota.items()]
        together = Segments.joined(parts)
        return together.at(numpy_rng(self.seed, "mixture", epoch).permutation(len(together.example)))

    def _passes_over_all(self, epoch: int) -> Segments:
        """Permutations of all examples, one behind the other, as far as the budget goes; the last example whole."""
        passes, drawn = [], 0
        while drawn < self.budget:
            # One key an example of the pool, whatever the subset; its repetitions are spread by the golden ratio.
            name = ("order", epoch) if not passes else ("order", epoch, len(passes))
            keys = numpy_rng(self.seed, *name).random(len(self.examples))[self.indices]
            order = np.argsort((keys + self.occurrence * GOLDEN) % 1, kind="stable")
            passes.append(self.indices[order])
            drawn += int(self.lengths[passes[-1]].sum())
        return self._whole(np.concatenate(passes), self.budget)

    def _from_domain(self, name: str, start: int, stop: int) -> Segments:
        """The units from `start` to before `stop` of a domain's own stream: passes over its members, each permuted.

        Documents that stand across an edge are cut there; rows belong to the side on which they begin.
        """
        members = self.members[name]
        held, passes = int(self.lengths[members].sum()), []
        for turn in range(start // held, -(-stop // held)):
            turned = numpy_rng(self.seed, "domain", name, turn).permutation(members)
            ends = turn * held + np.cumsum(self.lengths[turned])
            begins = ends - self.lengths[turned]
            is_in = (ends > start) & (begins < stop) if self.is_packed else (begins >= start) & (begins < stop)
            segments = self._whole(turned[is_in])
            if self.is_packed:
                low, high = np.maximum(start - begins[is_in], 0), np.maximum(ends[is_in] - stop, 0)
                segments = segments._replace(start=segments.start + low, stop=segments.stop - high)
            passes.append(segments)
        if not passes:
            return self._whole(members[:0])
        return Segments.joined(passes)

    def _whole(self, examples: Int[np.ndarray, "m"], num_units: int | None = None) -> Segments:
        """Whole examples, until they hold `num_units`."""
        if num_units is not None:
            examples = examples[: int(np.searchsorted(np.cumsum(self.lengths[examples]), num_units, side="left")) + 1]
        return Segments(examples, np.zeros(len(examples), np.int64), self.lengths[examples])


def num_steps(examples: Examples, config: TrainConfig, budget: int) -> int:
    """Steps of a training on some of `examples`, `budget` tokens (images) an epoch: as many as its `Order` has, or a
    few more where its sequences are fewer.
    """
    unit = sequence_size(examples)
    return config.num_steps(config.num_units(budget, unit), unit)


def sequence_size(examples: Examples) -> float:
    """A sequence's length: of packed text fixed; of rows the pool's mean, the same for every subset of it."""
    if is_packed(examples):
        return float(examples.sequence_length)
    return float(np.asarray(examples.lengths()).mean())


def apportion(mixture: dict[str, float], names: dict[str, np.ndarray], total: int) -> list[int]:
    """Whole numbers of draws for the domains of `names` that sum to `total`, by largest remainder."""
    exact = np.array([mixture[name] for name in names]) / sum(mixture.values()) * total
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts.tolist()


def _occurrence(indices: np.ndarray) -> np.ndarray:
    """For each entry, how many equal entries come before it: 0 throughout when nothing repeats."""
    order = np.argsort(indices, kind="stable")
    ordered = indices[order]
    first = np.searchsorted(ordered, ordered, side="left")
    occurrence = np.empty(len(indices), dtype=np.int64)
    occurrence[order] = np.arange(len(indices)) - first
    return occurrence
