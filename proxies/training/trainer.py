"""One loop that trains any model on any subset, weighting or mixture, and goes on where it was killed."""

import time
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from thresher.artifacts import is_sound
from thresher.data.examples import Examples, TokenExamples
from thresher.devices import autocast, full_float32
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.proxies.costs import training_flops_per_unit
from thresher.proxies.models.spec import Spec, build_model, honoured, num_parameters
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.curves import Curves
from thresher.proxies.training.last_steps import LastSteps, StepMeans
from thresher.proxies.training.objective import num_predictions, objective_of
from thresher.proxies.training.order import Order
from thresher.proxies.training.ranks import Ranks, join
from thresher.proxies.training.state import TrainState
from thresher.seeds import seed_everything
from thresher.trackers import Opens, Tracker

# Losses are looked at this often: reading a number back waits for the device.
STEPS_BETWEEN_CHECKS = 50
CURVE_POINTS = 100


class Trainer:
    """One training: everything that stays the same while its `state` changes."""

    def __init__(
        self,
        spec: Spec,
        examples: Examples,
        order: Order,
        config: TrainConfig,
        *,
        seed: int,
        weights: Float[np.ndarray, "n"] | None,
        device: str,
    ):
        self.examples, self.order, self.config, self.seed = examples, order, config, seed
        self.ranks = join(device)
        self.device = self.ranks.device
        self.weights = None if weights is None else torch.from_numpy(weights).float()
        self.precision = config.precision_on(spec, self.device)
        self.spec = spec
        self.peak = config.peak_rate(spec)
        _refuse_empty_shares(order, self.ranks)
        model = build_model(spec, seed).to(self.device)
        optimizer = config.make_optimizer(model, self.peak)
        self.state = TrainState(model, optimizer, torch.zeros(order.num_steps, device=self.device))
        # Before anything is compiled, which would hide the operations that are counted.
        self.flops_per_unit = training_flops_per_unit(model, examples)
        self.objective = objective_of(model, spec, config, self.device)
        self.module: Any = self.objective
        self.looks: dict[str, Curves | StepMeans] = {}

    def follow(self, held_out: Examples) -> None:
        """Look at the loss on held-out and training examples now and then while the training runs."""
        order = self.order
        self._look_by("curves", Curves(self.examples, order.indices, held_out, order.num_steps, seed=self.seed))

    def measure(self, last: LastSteps) -> None:
        """Measure the model on test sets at its last steps."""
        self._look_by("last_steps", StepMeans(last, self.order.num_steps))

    def _look_by(self, fact: str, look: Curves | StepMeans) -> None:
        self.looks[fact] = look
        self.state.looks |= look.tensors

    @full_float32()
    def run(
        self, file: Path, checkpoint_every_seconds: float, progress: Progress, tracker: Opens | None = None
    ) -> None:
        """Take all the steps that are left, writing the state to `file` every `checkpoint_every_seconds`.

        The first process tells `tracker` of those that it takes; of a training that was killed the last may come twice.

        A damaged state is not believed: the training begins anew. Raises InputError when the loss is no longer finite.
        """
        state, num_steps, first = self.state, self.order.num_steps, self.ranks.is_first
        if is_sound(file):
            state.restore(file)
        self.module = self.ranks.wrap(self.objective)
        begun, saved = time.perf_counter() - state.seconds, time.perf_counter()
        told, tell = state.step, tracker() if tracker is not None and first and state.step < num_steps else None
        with (
            closing(tell) if tell is not None else nullcontext(),
            (progress if first else SILENT).task("train", num_steps) as advance,
        ):
            advance(state.step)
            while state.step < num_steps:
                self.take_step()
                self.look(state.step)
                advance(1)
                due = time.perf_counter() - saved >= checkpoint_every_seconds
                if due or state.step % STEPS_BETWEEN_CHECKS == 0 or state.step == num_steps:
                    if tell is not None:
                        self._tell(tell, told)
                    told = state.step
                    self._check_finite()
                state.seconds = time.perf_counter() - begun
                if due:
                    if first:
                        state.save(file)
                    saved = time.perf_counter()

    def _tell(self, tracker: Tracker, since: int) -> None:
        """Tell a tracker the steps from `since` on."""
        for step, loss in enumerate(self.state.losses[since : self.state.step].tolist(), start=since):
            rate = self.peak * self.config.rate(step, self.order.num_steps)
            tracker.log({"train/loss": loss, "train/learning_rate": rate}, step + 1)

    def look(self, step: int) -> None:
        """Measure what is to be measured after so many steps."""
        for look in self.looks.values():
            look.look(self.state.model, step)

    def finish(self, losses: Float[Tensor, "steps"], seconds: float) -> None:
        """Take over a training that was done elsewhere, from the loss of each step and the seconds it took.

        Raises InputError where a loss is not finite.
        """
        self.state.losses, self.state.seconds, self.state.step = losses, seconds, len(losses)
        self._check_finite()

    def facts(self) -> dict[str, Any]:
        """The facts that the artefact of a finished training records: sizes, costs, losses and how it was computed."""
        losses = self.state.losses.cpu().numpy()
        order, is_text = self.order, isinstance(self.examples, TokenExamples)
        return {
            "num_parameters": num_parameters(self.state.model),
            "num_steps": order.num_steps,
            "num_sequences": order.num_sequences,
            "num_tokens_seen" if is_text else "num_examples_seen": order.num_units,
            "passes": order.passes(),
            "learning_rate": self.peak,
            "flops": round(self.flops_per_unit * order.num_units),
            "seconds": round(self.state.seconds, 3),
            "final_train_loss": float(losses[-max(1, len(losses) // 20) :].mean()),
            "loss_curve": [float(part.mean()) for part in np.array_split(losses, min(len(losses), CURVE_POINTS))],
            "device": str(self.device),
            "precision": self.precision,
            **{fact: look.facts() for fact, look in self.looks.items()},
            **honoured(self.state.model, self.spec),
            **({"num_processes": self.ranks.count} if self.ranks.count > 1 else {}),
        }

    def take_step(self) -> None:
        """Take the next step, and leave its gradients in the parameters."""
        state, step = self.state, self.state.step
        drawn = self.order.batch(step)
        # Dropout and the like draw from (seed, step), so there is no generator's state to keep.
        seed_everything(self.seed, "step", step, *([self.ranks.index] if self.ranks.index else []))
        for group in state.optimizer.param_groups:
            group["lr"] = group["multiplier"] * self.peak * self.config.rate(step, self.order.num_steps)
        whole, owners = drawn
        parts = self.parts(len(owners))
        # The loss is over all predictions of the whole batch, however it is cut; uncut, its own mean.
        is_cut = len(parts) > 1 or self.ranks.count > 1
        total = num_predictions(whole) if is_cut else None
        state.optimizer.zero_grad(set_to_none=True)
        for start, stop in parts:
            batch = {name: tensor[start:stop].to(self.device) for name, tensor in whole.items()}
            weights = None if self.weights is None else self.weights[owners[start:stop]].to(self.device)
            with self._synchronised(stop == parts[-1][1]):
                with autocast(self.device, self.precision):
                    loss = self.module(batch, weights, total)
                # Between processes gradients are averaged, and the whole batch's is their sum.
                (loss * self.ranks.count if self.ranks.count > 1 else loss).backward()
            state.losses[step] += loss.detach()
        self.ranks.sum(state.losses[step])
        if self.config.clip is not None:
            state.norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), self.config.clip)
        state.optimizer.step()
        state.step += 1

    def parts(self, size: int) -> list[tuple[int, int]]:
        """Where the parts of this process's share of a batch start and stop."""
        start, stop = self.ranks.part(size)
        count = min(self.config.accumulate, stop - start)
        edges = [start + (stop - start) * edge // count for edge in range(count + 1)]
        return list(pairwise(edges))

    def _synchronised(self, is_last: bool) -> AbstractContextManager:
        """Gradients are exchanged between processes in the last part's backward pass, which has the sum of all."""
        return nullcontext() if is_last or self.ranks.count == 1 else self.module.no_sync()

    def _check_finite(self) -> None:
        finite = torch.isfinite(self.state.losses)
        if not bool(finite.all()):
            raise InputError(
                f"training diverged: the loss of step {int((~finite).int().argmax())} is not finite at learning rate "
                f"{self.peak:.3g}; train again with a lower learning_rate, to another output"
            )


def _refuse_empty_shares(order: Order, ranks: Ranks) -> None:
    smallest = order.smallest_batch
    if smallest < ranks.count:
        raise InputError(
            f"batches of {smallest} sequences cannot be shared by {ranks.count} processes; give a larger batch_size, "
            "or start fewer processes"
        )
