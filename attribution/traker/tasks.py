"""The model outputs traker knows by name, and the embeddings its CLIP output needs, on any device."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from trak.modelout_functions import (
    TASK_TO_MODELOUT,
    CLIPModelOutput,
    IterativeImageClassificationModelOutput,
)

from thresher.attribution.identity import identity_of_part
from thresher.errors import InputError


class ClipOutput(CLIPModelOutput):
    """traker's CLIP output. Its embeddings are computed where the model is, and only those that there are."""

    @staticmethod
    def get_embeddings(
        model: nn.Module,
        loader: Iterable[tuple[Any, Any]],
        batch_size: int | None = None,
        embedding_dim: int | None = None,
        size: int = 50_000,
        preprocess_fn_img: Callable[[Any], Tensor] | None = None,
        preprocess_fn_txt: Callable[[Any], Tensor] | None = None,
    ) -> None:
        """Embed up to `size` pairs of `loader`; batch and embedding sizes are seen, and taken for traker's sake."""
        images, texts, count = [], [], 0
        with torch.no_grad():
            for image, text in loader:
                image = image if preprocess_fn_img is None else preprocess_fn_img(image)
                text = text if preprocess_fn_txt is None else preprocess_fn_txt(text)
                image_embeddings, text_embeddings, *_ = model(image, text)
                images.append(image_embeddings[: size - count])
                texts.append(text_embeddings[: size - count])
                count += len(images[-1])
                if count >= size:
                    break
        if count < CLIPModelOutput.sim_batch_size:
            raise InputError(
                f"{count} pairs were embedded, fewer than simulated_batch_size={CLIPModelOutput.sim_batch_size}; "
                "pass more, or a CLIPModelOutput(simulated_batch_size=...) as the task"
            )
        CLIPModelOutput.image_embeddings = torch.cat(images)
        CLIPModelOutput.text_embeddings = torch.cat(texts)
        CLIPModelOutput.num_computed_embeddings = count


TASKS = {**TASK_TO_MODELOUT, "clip": ClipOutput}


def task_of(given: Any) -> Any:
    """A model output from a name, a class or an object."""
    if isinstance(given, str) and given not in TASKS:
        raise InputError(f"task {given!r} is unknown; pass one of: {', '.join(TASKS)}, or an AbstractModelOutput")
    chosen = TASKS[given] if isinstance(given, str) else given
    chosen = ClipOutput if chosen is CLIPModelOutput else chosen
    return chosen() if isinstance(chosen, type) else chosen


def known_by(task: Any) -> str:
    """The class of an output and a hash of its code and its simple attributes, by which features are told apart."""
    return f"{type(task).__qualname__} ({identity_of_part(task)[:8]})"


def is_per_example(task: Any) -> bool:
    """Whether `get_output` is known to be for one example; traker's iterative output is for a batch."""
    return not isinstance(task, IterativeImageClassificationModelOutput)
