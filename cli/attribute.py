"""`thresher attribute`: scores of every pair of examples, from your own function or a model and two data sets."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from thresher.choices import Task
from thresher.cli.command import Command, check_page
from thresher.errors import InputError
from thresher.places import own_file
from thresher.progress import Progress
from thresher.shown import cell


@dataclass(frozen=True, kw_only=True)
class Attribute(Command):
    """What every training example did to the model's output on every test example (higher = more helpful).

    MODEL is module:function, which returns (model, train, test) or a dict of the arguments of thresher.attribute; or,
    with --train and --test, a model's name (torchvision:resnet18, hf:FOLDER, a model artefact).
    """

    usage = """
    thresher attribute my_project:attribution --out scores.npy
    thresher attribute torchvision:resnet18 --weights net.pth --train images/train --test images/test --page page.html
    """

    makes = "file"
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
        """Refuse also a page that cannot be made."""
        super().check()
        check_page(self.page, "--page")
        if self.page is not None and not (self.train and self.test):
            raise InputError("--page shows examples as they are in files; give --train and --test, or leave it out")

    def run(self, progress: Progress) -> dict[str, Any]:
        """Score every pair."""
        import thresher
        from thresher.api.named import arguments_from

        options = {"method": self.method, "k": self.k, "batch_size": self.batch_size, "seed": self.seed}
        options = {name: value for name, value in options.items() if value is not None and value != "auto"}
        with tempfile.TemporaryDirectory(prefix="thresher-") as folder:
            given = self._prepared(Path(folder), progress) if self.train or self.test else arguments_from(self.model)
            result = thresher.attribute(**{"device": self.device, "progress": progress, **given, **options})
            table = self._table(result)
            page = None if self.page is None else self._explored(result, given, progress)
        path = None if self.out is None else str(result.save(self.out))
        if self.out is not None:
            with own_file(self.out.with_suffix(".csv")) as file:
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


COMMAND = Attribute
