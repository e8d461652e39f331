"""Typed handles: what each step of the loop gives, a small frozen object over the artefact that holds it.

A handle is a path too (`os.PathLike`), so it goes wherever a path goes; every verb takes either.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from jaxtyping import Float, Int
from torch import nn

from thresher.api.handle import Handle, Source
from thresher.api.result import Attribution, descending
from thresher.attribution.features import store
from thresher.data import examples as prepared
from thresher.errors import InputError
from thresher.proxies.evaluation import bits_per_byte, evaluate, mean_of
from thresher.proxies.models.weights import open_model
from thresher.scores import check_names, open_scores
from thresher.selection.selection import open_selection


class Examples(Handle):
    """Prepared examples: a pool, or a target."""

    kinds = ("text-examples", "labelled-text-examples", "image-examples")
    shown = ("num_examples", "num_tokens", "vocab_size")

    def __len__(self) -> int:
        return self.facts["num_examples"]

    def load(self) -> prepared.Examples:
        """The examples as training and attribution read them."""
        return prepared.open_examples(self.path)

    def table(self) -> pd.DataFrame:
        """The columns id, domain and length (tokens; 1 of an image), a row an example."""
        examples = self.load()
        columns = {"id": list(examples.ids), "domain": examples.domains, "length": examples.lengths()}
        return pd.DataFrame(columns)

    def preview(self, index: int) -> str:
        """What a person reads of one example."""
        return self.load().preview(index)


class Model(Handle):
    """A trained model."""

    kinds = ("model",)
    shown = ("loss", "flops")

    def load(self) -> nn.Module:
        """The module, with its weights, in evaluation mode."""
        return open_model(self.path)

    def evaluate(self, examples: Source, *, device: str = "auto") -> dict[str, float]:
        """Mean `loss` (nats), `accuracy` and `margin` on prepared examples; of text `bits_per_byte` too."""
        prepared = Examples.of(examples).load()
        measured = evaluate(self.load(), prepared, device=device)
        bits = mean_of(bits_per_byte(measured["loss"], prepared))
        means = {name: float(measured[key].mean()) for name, key in MEASURED.items()}
        return means | ({} if bits is None else {"bits_per_byte": bits})


MEASURED = {"loss": "loss", "accuracy": "correct", "margin": "margin"}


class FeatureStore(Handle):
    """Projected gradients and outputs of examples under one or several models."""

    kinds = ("features",)
    shown = ("num_examples", "num_checkpoints", "k")

    def __len__(self) -> int:
        return self.facts["num_examples"]

    def load(self) -> store.FeatureStore:
        """The store as scoring reads it, shard by shard."""
        return store.FeatureStore(self.artifact)

    def features(self, checkpoint: int = 0) -> Float[np.ndarray, "n k"]:
        """All features under one model, float32, in memory."""
        return np.concatenate([block for _, block in self.load().blocks(checkpoint)])

    def table(self) -> pd.DataFrame:
        """The columns id, domain, margin, loss, confidence and doubt (1 - p): means over the models."""
        read = self.load()
        outputs = [read.outputs(checkpoint) for checkpoint in range(read.num_checkpoints)]
        means = {name: np.mean([output[name] for output in outputs], axis=0) for name in outputs[0]}
        return pd.DataFrame({"id": read.ids, "domain": read.domains, **means})


class Scores(Handle):
    """Scores of a pool, one column a target; higher is more helpful."""

    kinds = ("scores",)
    shown = ("num_examples", "num_checkpoints")

    def __len__(self) -> int:
        return self.facts["num_examples"]

    @property
    def targets(self) -> list[str]:
        """The names of the columns."""
        return list(self.artifact.meta["config"].get("targets") or open_scores(self.path).by_target)

    def table(self) -> pd.DataFrame:
        """The columns id, domain and one a target, a row an example of the pool, in its order."""
        return pq.read_table(self.artifact.file("scores.parquet")).to_pandas()

    def top(self, target: str | None = None, k: int = 10, *, harmful: bool = False) -> pd.DataFrame:
        """The rows of the `k` most helpful (or most harmful) examples for a target, with their positions as index."""
        scores = self.column(target)
        return self.table().iloc[descending(-scores if harmful else scores)[:k]]

    def column(self, target: str | None = None) -> Float[np.ndarray, "n"]:
        """The scores for one target, or for the only one. Raises InputError, with the names there are, otherwise."""
        read = open_scores(self.path)
        if target is None and len(read.by_target) > 1:
            raise InputError(f"{self.path} has scores for {', '.join(read.by_target)}; name one of them")
        return next(iter(read.of(None if target is None else [target]).values()))

    def tokens(self) -> pd.DataFrame:
        """Which tokens carried the scores: target, id, position, token, text, value, a row a predicted token.

        Of the highest and lowest scores of each target, as many as `per_token` asked for; they sum to the score. Raises
        InputError where they were not asked for.
        """
        if "tokens.parquet" not in self.artifact.meta["files"]:
            raise InputError(f"{self.path} does not say which tokens carried its scores; score again with per_token=")
        return pq.read_table(self.artifact.file("tokens.parquet")).to_pandas()


class Selection(Handle):
    """Which examples of a pool were kept."""

    kinds = ("selection",)
    shown = ("num_kept", "num_dropped", "num_tokens")

    def __len__(self) -> int:
        return self.facts["num_kept"]

    @property
    def positions(self) -> Int[np.ndarray, "k"]:
        """The kept rows of the pool, best first: for `torch.utils.data.Subset` or `datasets.Dataset.select`."""
        return open_selection(self.path).positions

    @property
    def ids(self) -> list[str]:
        """The ids of the kept examples, best first."""
        return open_selection(self.path).kept["id"].to_pylist()

    def table(self) -> pd.DataFrame:
        """Kept examples, best first: id, position, domain, score, rank."""
        return open_selection(self.path).kept.to_pandas()

    def dropped(self) -> pd.DataFrame:
        """Dropped examples, nearest to being kept first, with the stage that left each out as `reason`."""
        return open_selection(self.path).dropped.to_pandas()


class Index(Handle):
    """A search index over a pool's features."""

    kinds = ("index",)
    shown = ("num_examples", "index_kind", "recall_at_10")

    def __len__(self) -> int:
        return self.facts["num_examples"]

    def table(self) -> pd.DataFrame:
        """The columns id and domain of what is indexed."""
        return pq.read_table(self.artifact.file("examples.parquet"), columns=["id", "domain"]).to_pandas()


class Neighbours(NamedTuple):
    """What `search` found: `id`, `score` and, where the pool was given, `preview` of each, strongest first."""

    helpful: list[dict[str, Any]]
    harmful: list[dict[str, Any]]

    def table(self) -> pd.DataFrame:
        """Both lists as one table, with the column `side`."""
        sides = {"helpful": self.helpful, "harmful": self.harmful}
        return pd.DataFrame([{"side": side, **hit} for side, hits in sides.items() for hit in hits])


class Validation(Handle):
    """The reference trained on selections and on random data, compared."""

    kinds = ("validation",)
    shown = ("unit", "budget")

    def table(self) -> pd.DataFrame:
        """A row a run and task: arm, seed, task, off_target, loss, correct, flops, seen."""
        return pq.read_table(self.artifact.file("runs.parquet")).to_pandas()

    def differences(self) -> pd.DataFrame:
        """Paired differences of each arm to random data, with their 95 % intervals, a row an arm and task."""
        return pd.DataFrame(list(self.facts["paired"]))


class Quality(Handle):
    """How well scores predict retraining: the linear datamodeling score (LDS)."""

    kinds = ("lds", "lds-ladder")
    shown = ("num_subsets", "num_targets")

    def table(self) -> pd.DataFrame:
        """A row a scorer (of a ladder: a size): the mean LDS and its 95 % interval."""
        if "sizes" in self.facts:
            return pd.DataFrame([{"size": name, **row["lds"]} for name, row in self.facts["sizes"].items()])
        rows = self.facts.get("table", {})
        return pd.DataFrame([{"scorer": name, **row["lds"]} for name, row in rows.items()])


TYPES: tuple[type[Handle], ...] = (Examples, Model, FeatureStore, Scores, Selection, Index, Validation, Quality)


def open(path: Source) -> Any:
    """The handle of an artefact by its kind: Examples, Model, FeatureStore, Scores, Selection, Index, Validation,
    Quality or Attribution; a plain Handle for all other kinds.

    Raises InputError for what is missing, half-written or damaged.
    """
    handle = Handle.of(path)
    if handle.artifact.kind == "attribution":
        return Attribution(handle.artifact)
    kind = next((kind for kind in TYPES if handle.artifact.kind in kind.kinds), Handle)
    return kind(handle.artifact)


def named(values: Mapping[str, Any] | Any, name: str = "target") -> dict[str, Any]:
    """A mapping as it is; one thing by itself under `name`. Raises InputError for names that no column can have."""
    by_name = dict(values) if isinstance(values, Mapping) else {name: values}
    check_names(by_name)
    return by_name
