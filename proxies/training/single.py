"""The model of one training as an artefact: what is asked is checked, trained where it was left, and written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thresher.artifacts import Artifact, Draft, build, open_artifact
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.proxies.models.spec import Spec, check_all, private_randomness
from thresher.proxies.models.weights import save_model
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.last_steps import LastSteps
from thresher.proxies.training.optimizer_state import save_optimizer
from thresher.proxies.training.order import Order
from thresher.proxies.training.ranks import join
from thresher.proxies.training.request import check_indices, check_mixture, check_weights, request_of
from thresher.proxies.training.trainer import Trainer
from thresher.trackers import Opens


def train(
    spec: Spec,
    examples: Examples,
    *,
    out: Path,
    config: TrainConfig,
    seed: int,
    indices: Sequence[int] | np.ndarray | None = None,
    budget: int | None = None,
    weights: Sequence[float] | np.ndarray | None = None,
    mixture: dict[str, float] | None = None,
    held_out: Examples | None = None,
    last: LastSteps | None = None,
    device: str = "auto",
    checkpoint_every_seconds: float = 30.0,
    tracker: Opens | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Train the model of `spec` on `examples`, and write it as a `model` artefact at `out`.

    indices: positions of the examples to train on [m], each as often as it occurs; all by default.
    budget: tokens (of images: images) in an epoch; by default as many as there are at `indices`. Runs with equal
        budgets see exactly equal amounts in equally many steps; what `indices` hold beyond it is left out at the end of
        each epoch's order, what they lack is a further pass over a part of them.
    weights: a factor on the loss of each example of the pool [n], >= 0; the loss is linear in them, so a mean of 1
        keeps the learning rate's meaning.
    mixture: share of each domain in the tokens (images) of an epoch, whose number stays that of `budget`.
    tracker: begins a run of a tracker, which is told the loss and the learning rate of every step that is taken.
    held_out: examples that the model's loss is followed on, beside that on some of its own (`curves`).
    last: what the model is measured on at its last steps (the fact `last_steps`). The weights are those of a training
        without, as with `held_out`.

    The same request makes the same bytes on the same machine, also when it was killed and run again; the same seed
    gives the same initialisation and the same relative order of examples whatever the subset.
    Under `torchrun` the processes share every batch, and all return the artefact that the first one writes.
    Raises InputError for inputs that cannot be used, and when the loss is no longer finite.
    """
    others = [*([] if held_out is None else [held_out]), *([] if last is None else last.tasks.values())]
    check_all(spec, (examples, *others))
    positions = check_indices(indices, len(examples))
    factors = check_weights(weights, len(examples))
    if factors is not None and not factors[positions].any():
        raise InputError("every example at `indices` has weight 0; give at least one of them a weight above 0")
    mixture = check_mixture(mixture, examples, positions)
    config, ranks = config.settled(spec, examples), join(device)

    def run(state: Path) -> Trainer:
        order = Order(examples, positions, mixture, config, seed=seed, budget=budget)
        trainer = Trainer(spec, examples, order, config, seed=seed, weights=factors, device=device)
        if held_out is not None and ranks.is_first:
            trainer.follow(held_out)
        if last is not None and ranks.is_first:
            trainer.measure(last)
        with private_randomness():
            trainer.run(state / "training.safetensors", checkpoint_every_seconds, progress, tracker)
        return trainer

    def write(draft: Draft) -> dict[str, Any]:
        trainer = run(ranks.share(draft.state))
        save_model(trainer.state.model, spec, draft)
        if config.keep_optimizer:
            save_optimizer(trainer.state.model, trainer.state.optimizer, draft)
        return trainer.facts()

    drawn = {"indices": positions, "budget": budget, "weights": factors, "mixture": mixture}
    drawn |= {"held_out": held_out, "last": last}
    request = request_of(spec, examples, config, seed=seed, **drawn)
    if ranks.is_first:
        artifact = build(Path(out), write=write, **request)
        if not artifact.built:
            ranks.share(None)
        ranks.wait()
        return artifact
    if (state := ranks.share()) is not None:
        run(state)
    ranks.wait()
    return open_artifact(Path(out), "model")
