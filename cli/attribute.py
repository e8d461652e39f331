"""`thresher attribute`: scores of every pair of examples, from your own function or a model and two data sets."""

import csv
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import tyro

from thresher.artifacts import atomic_file, is_artifact, open_artifact
from thresher.choices import Task
from thresher.cli.arguments import flag_of
from thresher.cli.command import Command, PlaceCheck, check_page
from thresher.errors import InputError
from thresher.idle import check_task
from thresher.places import check_artifact_place, check_file_place, is_empty, own_file
from thresher.progress import Progress
from thresher.shown import cell

OF_NAMED = ("weights", "task", "text", "label", "size", "sequence_length", "tokenizer")
"""Options of a model's name and its data, which module:function brings itself."""


@dataclass(frozen=True, kw_only=True)
class Attribute(Command):
    """What every training example did to the model's output on every test example (higher = more helpful).

    MODEL is module:function, which returns (model, train, test) or a dict of the arguments of thresher.attribute, which
    options that are given here go before; or, with --train and --test, a model's name (torchvision:resnet18, hf:FOLDER,
    a model artefact).
    """

    usage = """
    thresher attribute my_project:attribution --out scores.npy
    thresher attribute torchvision:resnet18 --weights net.pth --train images/train --test images/test --page page.html
    """

    sources = ("train", "test")

    model: Annotated[str, tyro.conf.Positional]
    """module:function, or a model's name."""
    train: str | None = None
    """A folder of images, or a file of texts."""
    test: str | None = None
    weights: Path | None = None
    """A state dict for a model that has none: .pth, .pt or .safetensors."""
    task: Task | None = None
    """language, vision or text-classification; None: vision, and language for checkpoints of transformers."""
    text: str = "text"
    label: str = "label"
    size: int | None = None
    """Images are resized to size x size."""
    sequence_length: int = 128
    tokenizer: str | None = None
    """None: the checkpoint's."""
    method: str = "auto"
    """exact, or a projection: two-sided, sjlt, ...; auto: exact where it is cheap."""
    k: int | None = None
    """Numbers a gradient is projected to."""
    batch_size: int | None = None
    top: int = 5
    """Of each test example, so many most helpful and most harmful training examples."""
    out: Path | None = None
    """NAME.npy: the scores [train, test]; another name: an artefact. The top of each test example is in NAME.csv."""
    page: Path | None = None
    """With --train and --test: an explorer of them at this place, NAME.html."""
    seed: int = 0
    device: str = "auto"

    def check(self) -> None:
        """Refuse also a page that cannot be made, and options that module:function has no use for."""
        if self.out is not None and self.out.suffix.lower() == ".csv":
            raise InputError(
                f"--out {self.out} is named like the table beside it; give {self.out.stem}.npy or no ending"
            )
        super().check()
        check_page(self.page, "--page")
        if self.page is not None and not (self.train and self.test):
            raise InputError("--page shows examples as they are in files; give --train and --test, or leave it out")
        if not self.train and not self.test:
            for name in self.given(*OF_NAMED):
                raise InputError(
                    f"{flag_of(name)} is of a model's name with --train and --test; give both, or leave it out"
                )

    def places(self) -> dict[str, tuple[Path, PlaceCheck]]:
        """By its name --out is an array or an artefact; beside it is the table."""
        if self.out is None:
            return super().places()
        check = _check_array if _is_array(self.out) else _check_attribution
        own = {"--out": (self.out, check), "the table of --out,": (_table_beside(self.out), check_file_place)}
        return super().places() | own

    def run(self, progress: Progress) -> dict[str, Any]:
        """Score every pair."""
        import thresher
        from thresher.api.named import arguments_from

        usual = {"device": self.device, "seed": self.seed, "progress": progress}
        typed = self.given("method", "k", "batch_size", "seed", "device")
        with tempfile.TemporaryDirectory(prefix="thresher-") as folder:
            given = self._prepared(Path(folder), progress) if self.train or self.test else arguments_from(self.model)
            result = thresher.attribute(**{**usual, **given, **typed})
            table = self._table(result)
            path = None if self.out is None else str(_saved(result, self.out))
            page = None if self.page is None else self._explored(result, given, progress)
        if self.out is not None:
            with own_file(_table_beside(self.out)) as file:
                table.assign(id=[cell(id) for id in table["id"]]).to_csv(file, index=False)
        sizes = dict(zip(("num_train", "num_test"), result.shape, strict=True))
        facts = {"method": result.method, "num_checkpoints": result.num_checkpoints, "quality": result.quality}
        return {
            "path": path,
            "page": page,
            **sizes,
            **facts,
            "top": table.astype(object).where(table.notna(), None).to_dict("records"),
        }

    def show(self, result: Mapping[str, Any]) -> str:
        """How good the model is, and the top of the first test examples."""
        lines = [f"{name}: {result[name]}" for name in ("path", "page") if result[name]]
        lines.append(f"{result['num_train']:,} train x {result['num_test']:,} test examples, {result['method']}")
        for side, values in result["quality"].items():
            lines.append(f"{side}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
        shown = [row for row in result["top"] if row["test"] < 3]
        return "\n".join(lines + ["  test {test} {side:<8}{score:+.4g}\t{index}\t{id}".format(**row) for row in shown])

    def then(self, result: Mapping[str, Any]) -> Sequence[object] | None:
        """The page, opened."""
        from thresher.cli.following import opening

        return opening(result["page"]) if result["page"] else None

    def _explored(self, result: Any, given: Mapping[str, Any], progress: Progress) -> str:
        import thresher

        is_torchvision = self.model.startswith("torchvision:")
        named = f"{self.model}@{self.weights}" if is_torchvision and self.weights else self.model
        page = thresher.explore(
            result,
            given["train"],
            {"test": given["test"]},
            out=str(self.page),
            models=named if is_torchvision or self.weights is None else (),
            title=self.model,
            device=self.device,
            progress=progress,
        )
        return str(page)

    def _prepared(self, folder: Path, progress: Progress) -> dict[str, Any]:
        import thresher
        from thresher.api.named import model_named, task_named

        if self.train is None or self.test is None:
            raise InputError("a model's name needs --train and --test; give both, or neither for module:function")
        task = self.task or task_named(self.model)
        check_task(self.given(*OF_NAMED), task, flag_of)
        shared: dict[str, Any] = {"task": task, "text": self.text, "label": self.label, "size": self.size}
        if task != "vision":
            tokenizer = self.tokenizer or self.model.removeprefix("hf:")
            shared |= {"tokenizer": tokenizer, "sequence_length": self.sequence_length}
        train = thresher.prepare(self.train, out=folder / "train", progress=progress, **shared)
        classes = tuple(train.facts.get("classes", ()))
        test = thresher.prepare(self.test, out=folder / "test", classes=classes, progress=progress, **shared)
        return {"model": model_named(self.model, self.weights, train, test), "train": train, "test": test}

    def _table(self, result: Any) -> Any:
        import pandas as pd

        parts = []
        for test in range(result.shape[1]):
            for side in ("helpful", "harmful"):
                best = result.top(test, self.top, harmful=side == "harmful")
                ids = [row["id"] if isinstance(row, dict) and "id" in row else "" for row in best.pop("row")]
                parts.append(best.assign(test=test, side=side, id=ids))
        return pd.concat(parts, ignore_index=True)[["test", "side", "index", "id", "score", "spread"]]


def _is_array(out: Path) -> bool:
    return out.suffix == ".npy"


def _table_beside(out: Path) -> Path:
    """NAME.csv of NAME.npy, and of an artefact NAME."""
    return out.with_suffix(".csv") if _is_array(out) else out.with_name(f"{out.name}.csv")


def _saved(result: Any, out: Path) -> Path:
    """The scores at `out`: an array of ours anew, as the table beside it is, an artefact as it is there already."""
    if not _is_array(out):
        return result.save(out)
    import numpy as np

    with atomic_file(out) as file:
        np.save(file, result.scores)
    return out


def _check_array(out: Path, inputs: Iterable[Path]) -> None:
    """Raise InputError unless an array may be written to `out`."""
    check_file_place(out, inputs, is_own=lambda out: is_empty(out) or _has_its_scores(_table_beside(out), out))


def _check_attribution(out: Path, inputs: Iterable[Path]) -> None:
    """Raise InputError unless an attribution may be made at `out`, or is there."""
    check_artifact_place(out, inputs)
    if is_artifact(out) and (kind := open_artifact(out).kind) != "attribution":
        raise InputError(f"{out} holds {kind!r}, and nothing is written over; give another place, or delete it")


def _has_its_scores(table: Path, array: Path) -> bool:
    """Whether a table of ours beside an array has the array's scores, which has no room for a mark of its own."""
    import numpy as np

    try:
        with open(table, encoding="utf-8", newline="") as file:
            rows = list(islice(csv.DictReader(file), 20))
        scores = np.load(array, mmap_mode="r")
        found = [scores[int(row["index"]), int(row["test"])] for row in rows]
        return bool(rows) and np.allclose(found, [float(row["score"]) for row in rows], rtol=1e-4, atol=0)
    except (OSError, ValueError, EOFError, LookupError, TypeError):  # no such table, or no array of numbers
        return False


COMMAND = Attribute
