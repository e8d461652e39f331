"""A model's training as attribution can go back through it, made from what the model's artefact says of it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from thresher.artifacts import Artifact, open_artifact
from thresher.attribution.unrolling.replay import Part, Replay
from thresher.data.examples import Examples
from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.proxies.models.checkpoints.tensors import WEIGHTS
from thresher.proxies.models.spec import private_randomness, read_artifact_spec
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.objective import num_predictions
from thresher.proxies.training.order import Order
from thresher.proxies.training.request import check_indices, hash_array
from thresher.proxies.training.trainer import Trainer

# How far the final weights may be from the published ones, relative to how far training took them.
TOLERANCE = 1e-3


class TrainingReplay(Replay):
    """The training of a `model` artefact, from its start; it takes its steps by the trainer itself."""

    def __init__(self, artifact: Artifact, trainer: Trainer) -> None:
        """Raises InputError for a training that cannot be gone back through: bf16, compiled, batch norms."""
        _refuse(trainer, artifact)
        self.artifact, self.trainer = artifact, trainer
        self.model, self.optimizer = trainer.state.model, trainer.state.optimizer
        self.num_steps, self.num_examples = trainer.order.num_steps, len(trainer.examples)
        self.clip, self.content_hash = trainer.config.clip, artifact.content_hash
        self.seconds = float(artifact.facts.get("seconds", 0.0))
        self._start = {name: self.model.get_parameter(name).detach().clone() for name in self.names}

    @property
    def step(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many steps have been taken."""
        return self.trainer.state.step

    @property
    def steps_in_epoch(self) -> int:
        """Steps in an epoch, for a window of the last one."""
        order = self.trainer.order
        return min(self.num_steps, math.ceil(self.num_steps * order.budget / order.num_units))

    @property
    def weights(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The weight of each example of the pool from the next step on."""
        weights = self.trainer.weights
        return (torch.ones(self.num_examples) if weights is None else weights).to(self.trainer.device)

    @weights.setter
    def weights(self, weights: Tensor) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        # Without weights some losses are summed in another order; the plain training must stay itself.
        self.trainer.weights = None if bool((weights == 1).all()) else weights.float().cpu()

    @full_float32()
    def advance(self) -> float:
        """Take the next step; the norm of its gradient before clipping, 0 where nothing clips it."""
        with private_randomness():
            self.trainer.take_step()
        norm = self.trainer.state.norm
        return 0.0 if norm is None else float(norm)

    def parts(self) -> tuple[list[Part], int]:
        """What the next step reads, in the parts that it goes through the model in."""
        whole, owners = self.trainer.order.batch(self.step)
        device = self.trainer.device
        parts = [
            Part(
                {name: value[start:stop].to(device) for name, value in whole.items()},
                torch.from_numpy(owners[start:stop]).to(device),
            )
            for start, stop in self.trainer.parts(len(owners))
        ]
        return parts, max(1, num_predictions(whole))

    def save(self, file: Path) -> None:
        """Keep the training's state as the trainer does."""
        self.trainer.state.save(file)

    def restore(self, file: Path) -> None:
        """Go on from what `save` kept."""
        self.trainer.state.restore(file)

    def difference(self) -> float:
        """How far the parameters are from the published model's, relative to how far training took those.

        Raises InputError at the end of a training that is not the one that made the model.
        """
        published = load_file(self.artifact.file(WEIGHTS))
        apart = moved = 0.0
        for name, start in self._start.items():
            value = self.model.get_parameter(name).detach()
            final = published[name].to(value)
            apart += float((value - final).double().square().sum())
            moved += float((final - start).double().square().sum())
        relative = (apart / max(moved, 1e-300)) ** 0.5
        if not relative <= TOLERANCE:
            raise InputError(
                f"training {self.artifact.path} again ends {relative:.2g} away from it, of the way that training took; "
                "train it anew on this machine, with this version and number of threads"
            )
        return relative


def replay_of(
    model: str | Path, pool: Examples, *, indices: Sequence[int] | np.ndarray | None = None, device: str = "auto"
) -> TrainingReplay:
    """The replay of a `model` artefact, trained on `pool` (on `indices` of it, where it was trained on a part).

    Raises InputError for an artefact that was made from other data, or with weights on its examples.
    """
    artifact = open_artifact(Path(model), "model")
    config, inputs = artifact.meta["config"], artifact.meta["inputs"]
    if inputs.get("examples") != pool.content_hash:
        raise InputError(f"{artifact.path} was not trained on this pool; give the one that it was trained on")
    positions = check_indices(indices, len(pool))
    if inputs["indices"] != hash_array(positions):
        raise InputError(
            f"{artifact.path} was trained on a part of the pool; give a model trained on all of it, or its indices"
        )
    if "weights" in inputs or "training" not in config:
        raise InputError(f"{artifact.path} was trained with weights on its examples; give one trained without")
    training, seed = TrainConfig.of_record(config["training"]), artifact.meta["seed"]
    if training.learning_rate is None:  # where the default was not in the request: what it was then
        training = replace(training, learning_rate=artifact.facts.get("learning_rate"))
    order = Order(pool, positions, config["mixture"], training, seed=seed, budget=config["budget"])
    spec = read_artifact_spec(artifact.path)
    trainer = Trainer(spec, pool, order, training, seed=seed, weights=None, device=device)
    return TrainingReplay(artifact, trainer)


def _refuse(trainer: Trainer, artifact: Artifact) -> None:
    if artifact.facts.get("precision", "float32") != "float32":
        raise InputError(f"{artifact.path} was trained in bf16, whose steps cannot be gone back through; use float32")
    if trainer.config.compile:
        raise InputError(f"{artifact.path} was trained compiled, which cannot be gone back through; train it without")
    norms = [
        name
        for name, module in trainer.state.model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    if norms:
        raise InputError(
            f"{artifact.path} has batch norms ({norms[0]}), whose running means training changes beside the gradient; "
            "score it otherwise (ekfac), or train a model without"
        )
