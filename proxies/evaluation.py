"""What a model makes of each example: loss, margin, confidence, correctness."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from thresher.artifacts import Artifact, Draft, build
from thresher.data.examples import Choices, Examples, ImageExamples, TokenExamples, add_shares
from thresher.data.examples.tokens import LabelledTextExamples
from thresher.devices import autocast, pick_device
from thresher.errors import InputError
from thresher.outputs import Outputs, logits_of, outputs_of
from thresher.progress import SILENT, Progress
from thresher.proxies.models.fits import check_all
from thresher.proxies.models.weights import open_model, read_spec
from thresher.workspace import Workspace

# Logits of one batch are at most this many numbers (16 MiB): larger ones leave the cache and are slower on a CPU.
MAX_LOGITS = 2**22


def evaluate(
    model: nn.Module,
    examples: Examples,
    *,
    indices: np.ndarray | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    precision: str = "float32",
    progress: Progress = SILENT,
) -> dict[str, np.ndarray]:
    """Per-example `margin`, `loss`, `confidence`, `correct` (`thresher.outputs`), float32 [m], in `indices`' order.

    Of a document that is read in several windows, the mean over the predicted tokens of all. Windows are taken from the
    longest to the shortest, so that a batch holds little padding and memory runs out at once or never. The model is
    left on its device and in the mode it came in.
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


def evaluate_choices(model: nn.Module, choices: Choices, **options: Any) -> dict[str, np.ndarray]:
    """Whether the model finds each example's right choice, float32 [n]: 1, 0, or its share where several tie.

    `accuracy` picks the choice with the lowest mean loss of its tokens, `accuracy_sum` that with the lowest summed
    loss, the likeliest text. `options` are those of `evaluate`.
    """
    mean = evaluate(model, choices, **options)["loss"]
    return {
        "accuracy": _share_found(mean, choices),
        "accuracy_sum": _share_found(mean * choices.num_predicted, choices),
    }


def _share_found(losses: np.ndarray, choices: Choices) -> np.ndarray:
    lowest = losses == np.minimum.reduceat(losses, choices.starts)[choices.example]
    found = np.add.reduceat(lowest & choices.right, choices.starts, dtype=np.float32)
    return found / np.add.reduceat(lowest, choices.starts, dtype=np.float32)


def _fitting_batch_size(examples: Examples, lengths: np.ndarray) -> int:
    vocab_size = getattr(examples, "vocab_size", None)
    if vocab_size is None or not len(lengths):
        return 256
    return int(np.clip(MAX_LOGITS // (vocab_size * int(lengths.max())), 1, 256))


def measure(model: Artifact, tasks: Mapping[str, Examples], *, out: Path, workspace: Workspace) -> Artifact:
    """Per-example loss and correctness of `model` on each task, an artefact of kind "evaluation".

    Where a task has choices, also whether the right one was found, by mean and by summed loss; null where it has none.
    """

    def write(draft: Draft) -> None:
        check_all(read_spec(model.path), tasks.values())
        network = open_model(model.path)
        tables = []
        for task, examples in tasks.items():
            results = evaluate(network, examples, device=workspace.device)
            columns = {
                "task": [task] * len(examples),
                "id": examples.ids,
                "loss": results["loss"],
                "correct": results["correct"],
            }
            choices = examples.choices if isinstance(examples, TokenExamples) else None
            found = {} if choices is None else evaluate_choices(network, choices, device=workspace.device)
            for name in ("accuracy", "accuracy_sum"):
                columns[name] = found.get(name, pa.nulls(len(examples), pa.float32()))
            tables.append(pa.table(columns))
        with draft.file("losses.parquet") as file:
            pq.write_table(pa.concat_tables(tables), file)

    inputs = {
        "model": model.content_hash,
        **{f"task {name}": examples.content_hash for name, examples in tasks.items()},
    }
    return build(out, kind="evaluation", config={}, seed=0, inputs=inputs, write=write)


def chance_of(examples: Examples) -> float:
    """The accuracy of a guess: among the choices, among the classes of images, else 0 (any token may come next)."""
    if isinstance(examples, ImageExamples | LabelledTextExamples):
        return 1 / len(examples.classes)
    choices = examples.choices if isinstance(examples, TokenExamples) else None
    if choices is None:
        return 0.0
    right = np.add.reduceat(choices.right, choices.starts, dtype=np.float64)
    return float(np.mean(right / np.diff(choices.starts, append=len(choices.example))))


def means(evaluation: Artifact) -> dict[str, dict[str, Any]]:
    """task -> the means of its examples."""
    table = pq.read_table(evaluation.file("losses.parquet")).group_by("task", use_threads=False)
    measures = ("loss", "correct", "accuracy", "accuracy_sum")
    rows = table.aggregate([(name, "mean") for name in measures]).to_pylist()
    return {row["task"]: {"task": row["task"], **{name: row[f"{name}_mean"] for name in measures}} for row in rows}
