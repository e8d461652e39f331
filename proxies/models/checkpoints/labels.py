"""The classes of prepared examples and the labels of a checkpoint: matched by name, never by chance."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from thresher.errors import InputError, near

GENERIC = re.compile(r"LABEL_\d+")


def match(name: str, labels: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """Match `classes` to `labels`: `label_order` is the output of each class, `labels_by` says how it was found.

    Classes are matched by name; those that are whole numbers by number; and by position where the checkpoint names no
    labels (LABEL_0 ..) and has as many. Raises InputError for a class that is none of the labels, and where the counts
    differ.
    """
    by_name = {label: index for index, label in enumerate(labels)}
    if all(class_name in by_name for class_name in classes):
        twice = next((class_name for class_name in classes if list(labels).count(class_name) > 1), None)
        if twice is not None:
            raise InputError(
                f"class {twice!r} of the examples stands for {list(labels).count(twice)} of its labels in {name!r}; "
                "name the labels in its config.json apart, or the classes by number"
            )
        return _matched([by_name[class_name] for class_name in classes], "name")
    if all(re.fullmatch(r"\d+", class_name) for class_name in classes):
        numbers = [int(class_name) for class_name in classes]
        if max(numbers) < len(labels):
            return _matched(numbers, "number")
        raise InputError(
            f"the examples have class {max(numbers)}, but {name!r} has {len(labels)} labels, from 0; "
            "give a checkpoint with as many labels, or examples of its classes"
        )
    if all(GENERIC.fullmatch(label) for label in labels):
        if len(labels) == len(classes):
            return _matched(list(range(len(classes))), "position: the checkpoint names none")
        raise InputError(
            f"the examples have {len(classes)} classes, but {name!r} has {len(labels)} labels, which its id2label does "
            f"not name; give a checkpoint with {len(classes)} labels, or write their names into its config.json"
        )
    missing = next(class_name for class_name in classes if class_name not in by_name)
    shown = ", ".join(labels[:6]) + (", .." if len(labels) > 6 else "")
    raise InputError(
        f"class {missing!r} of the examples is none of the {len(labels)} labels of {name!r} ({shown})"
        f"{near(missing, list(labels))}; name the classes as its id2label does"
    )


def honour(model: nn.Module, order: Sequence[int] | None) -> None:
    """Have `model` give the logits of the examples' classes first, in their order, then those of its other labels."""
    if order is not None:
        model.register_forward_hook(_Reorder(order))


class _Reorder:
    def __init__(self, order: Sequence[int]) -> None:
        self.order = list(order)

    def __call__(self, module: nn.Module, args: tuple, output: Any) -> Any:
        logits = output if isinstance(output, Tensor) else output.logits
        rest = sorted(set(range(logits.shape[1])) - set(self.order))
        return logits.index_select(1, torch.tensor([*self.order, *rest], device=logits.device))


def _matched(order: list[int], how: str) -> dict[str, Any]:
    return {"label_order": order, "labels_by": how}
