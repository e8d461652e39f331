"""What a model makes of each example (loss, margin, confidence, correctness), and the artefact that keeps it.

Bits per byte are the loss in units that do not depend on the tokenizer: the negative log-likelihood of all predicted
tokens of an example, in bits, over the UTF-8 bytes of the text that these stand for. What is predicted counts, as in
the loss: of a prompt with its continuation the continuation, the space that joins them included (lm-evaluation-harness
gives the same to a gold continuation); of a document everything but what opens a window, and the loss of its end token,
which stands for no byte. A task's is the mean over its examples (Signal and Noise, NeurIPS 2025); weighted by their
bytes it is the harness's ratio of sums.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int
from torch import nn

from thresher.artifacts import Artifact, Draft, build
from thresher.data.examples import Choices, Examples, ImageExamples, TokenExamples, add_shares
from thresher.data.examples.labelled_text import LabelledTextExamples
from thresher.devices import autocast, pick_device
from thresher.errors import InputError
from thresher.outputs import Outputs, logits_of, outputs_of
from thresher.progress import SILENT, Progress
from thresher.proxies.models.fits import check_all
from thresher.proxies.models.weights import open_model, read_spec
from thresher.workspace import Workspace

# Logits of one batch are at most this many numbers (16 MiB): larger ones leave the cache and are slower on a CPU.
MAX_LOGITS = 2**22
MEASURED = ("loss", "correct", "accuracy", "accuracy_sum", "bits_per_byte")
"""What is measured of an example for the tables of evaluations."""


def evaluate(
    model: nn.Module,
    examples: Examples,
    *,
    indices: Sequence[int] | Int[np.ndarray, "m"] | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    precision: str = "float32",
    progress: Progress = SILENT,
) -> dict[str, Float[np.ndarray, "m"]]:
    """The `margin`, `loss`, `confidence` and `correct` (`thresher.outputs`) of the examples at `indices`, float32 [m].

    Losses are in nats. A document that is read in several windows has the mean over the predicted tokens of all of
    them. Windows are taken from the longest to the shortest, so that a batch holds little padding and memory runs out
    at once or never. The model is left on its device and in the mode it came in. Raises InputError for a batch size
    below 1.
    """
    indices = np.arange(len(examples)) if indices is None else np.asarray(indices)
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size={batch_size}; pass 1 or more")
    home, mode = next(model.parameters()).device, model.training
    target = pick_device(device)
    windows, member = examples.windows_of(indices)
    lengths, weights = examples.windows.lengths[windows], examples.windows.weights[windows]
    order = np.argsort(-lengths, kind="stable")
    size = batch_size or _fitting_batch_size(examples, lengths)
    results = {name: torch.zeros(len(indices), dtype=torch.float64) for name in Outputs._fields}
    model.to(target).eval()
    try:
        with progress.task("evaluate", len(windows)) as advance, torch.no_grad(), autocast(target, precision):
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                batch = {name: tensor.to(target) for name, tensor in examples.batch(windows[rows]).items()}
                outputs = outputs_of(logits_of(model, batch), batch["labels"])
                for name, values in outputs._asdict().items():
                    add_shares(results[name], member[rows], weights[rows], values.float().cpu())
                advance(len(rows))
    finally:
        model.to(home).train(mode)
    return {name: values.float().numpy() for name, values in results.items()}


def evaluate_choices(model: nn.Module, choices: Choices, **options: Any) -> dict[str, Float[np.ndarray, "n"]]:
    """Whether the model finds the right choice of each example, float32 [n]: 1 or 0, or a share where choices tie.

    `accuracy` picks the choice with the lowest mean loss of its tokens, `accuracy_sum` that with the lowest summed
    loss, which is the likeliest text. A choice of no token has no likelihood and is never found, but among its like.
    `options` are those of `evaluate`.
    """
    mean = evaluate(model, choices, **options)["loss"]
    says_something = choices.num_predicted > 0
    return {
        "accuracy": _share_found(np.where(says_something, mean, np.inf), choices),
        "accuracy_sum": _share_found(np.where(says_something, mean * choices.num_predicted, np.inf), choices),
    }


def bits_per_byte(losses: Float[np.ndarray, "n"], examples: Examples) -> np.ma.MaskedArray | None:
    """The losses of all `examples` (nats, the mean over the predicted tokens of each) in bits per byte, [n].

    Masked where no byte is predicted; None of images, of texts that have a class, and of examples without their texts.
    """
    if not isinstance(examples, TokenExamples) or (sizes := examples.predicted_bytes) is None:
        return None
    bits = losses.astype(np.float64) * examples.num_predicted / math.log(2)
    return np.ma.masked_where(sizes == 0, bits / np.maximum(sizes, 1))


def measures_of(model: nn.Module, examples: Examples, device: str) -> dict[str, Float[np.ndarray, "n"] | None]:
    """Each of MEASURED for every example; None where there is none: accuracies without choices, bytes without text."""
    results = evaluate(model, examples, device=device)
    choices = examples.choices if isinstance(examples, TokenExamples) else None
    accuracies = {} if choices is None else evaluate_choices(model, choices, device=device)
    made: dict[str, Any] = {"loss": results["loss"], "correct": results["correct"], **accuracies}
    made["bits_per_byte"] = bits_per_byte(results["loss"], examples)
    return {name: made.get(name) for name in MEASURED}


def mean_of(values: Float[np.ndarray, "n"] | None) -> float | None:
    """The mean of what is not masked; None where nothing is there."""
    return None if values is None or not np.ma.count(values) else float(values.mean(dtype=np.float64))


def measure(model: Artifact, tasks: Mapping[str, Examples], *, out: Path, workspace: Workspace) -> Artifact:
    """Measure `model` on each task, and write an artefact of kind "evaluation" at `out`.

    Its table `losses.parquet` has a row for each example: `task`, `id`, `loss` in nats, `correct`, where the task has
    choices the `accuracy` and `accuracy_sum` of `evaluate_choices`, and of text `bits_per_byte`; else nulls. Raises
    InputError where the model cannot read a task.
    """

    def write(draft: Draft) -> None:
        check_all(read_spec(model.path), tasks.values())
        network = open_model(model.path)
        tables = []
        for task, examples in tasks.items():
            named = measures_of(network, examples, workspace.device)
            columns = {name: _column(values, len(examples)) for name, values in named.items()}
            tables.append(pa.table({"task": [task] * len(examples), "id": examples.ids, **columns}))
        with draft.file("losses.parquet") as file:
            pq.write_table(pa.concat_tables(tables), file)

    inputs = {
        "model": model.content_hash,
        **{f"task {name}": examples.content_hash for name, examples in tasks.items()},
    }
    return build(out, kind="evaluation", config={}, seed=0, inputs=inputs, write=write)


def chance_of(examples: Examples) -> float:
    """The accuracy of a guess, from 0 to 1, among the classes or the choices; 0 where any token may come next."""
    if isinstance(examples, ImageExamples | LabelledTextExamples):
        return 1 / len(examples.classes)
    choices = examples.choices if isinstance(examples, TokenExamples) else None
    if choices is None:
        return 0.0
    right = np.add.reduceat(choices.right, choices.starts, dtype=np.float64)
    return float(np.mean(right / np.diff(choices.starts, append=len(choices.example))))


def read_evaluation(evaluation: Artifact, tasks: Mapping[str, Examples]) -> pa.Table:
    """The table of an artefact that `measure` made; where it is older than bits per byte, with those of `tasks`."""
    table = pq.read_table(evaluation.file("losses.parquet"))
    if "bits_per_byte" in table.column_names:
        return table
    names, losses = table["task"].to_numpy(), table["loss"].to_numpy()
    bits = np.ma.array(np.zeros(len(table)), mask=True)
    for task, examples in tasks.items():
        found = bits_per_byte(losses[names == task], examples)
        if found is not None:
            bits[names == task] = found
    return table.append_column("bits_per_byte", _column(bits, len(table)))


def means(evaluation: Artifact, tasks: Mapping[str, Examples] | None = None) -> dict[str, dict[str, Any]]:
    """The mean of each of MEASURED of each task of an artefact that `measure` made; `tasks` as in `read_evaluation`."""
    return means_of(read_evaluation(evaluation, tasks or {}))


def means_of(losses: pa.Table) -> dict[str, dict[str, Any]]:
    """The same of a table that `read_evaluation` gave."""
    by_task = losses.group_by("task", use_threads=False)
    rows = by_task.aggregate([(name, "mean") for name in MEASURED]).to_pylist()
    return {row["task"]: {"task": row["task"], **{name: row[f"{name}_mean"] for name in MEASURED}} for row in rows}


def _column(values: Float[np.ndarray, "n"] | None, size: int) -> pa.Array:
    """A column of a table in float32; nulls where values are masked, or there are none."""
    return pa.nulls(size, pa.float32()) if values is None else pa.array(values.astype(np.float32))


def _share_found(losses: Float[np.ndarray, "c"], choices: Choices) -> Float[np.ndarray, "n"]:
    lowest = losses == np.minimum.reduceat(losses, choices.starts)[choices.example]
    right = np.add.reduceat(lowest & choices.right, choices.starts, dtype=np.float32)
    return right / np.add.reduceat(lowest, choices.starts, dtype=np.float32)


def _fitting_batch_size(examples: Examples, lengths: Int[np.ndarray, "w"]) -> int:
    vocab_size = getattr(examples, "vocab_size", None)
    if vocab_size is None or not len(lengths):
        return 256
    return int(np.clip(MAX_LOGITS // (vocab_size * int(lengths.max())), 1, 256))
