"""A training that can be taken again, step by step, from any state that was kept, with weights on its examples.

    loss of step t = sum_j w[owner of j] * cross-entropy of j / number of predictions of the whole batch

Attribution knows no trainer: who has one makes a `Replay` of it, which says how a step is taken, what is in it, and how
its state is kept. `ModelReplay` is one for a model, an optimiser and batches of your own.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from thresher.artifacts import piece
from thresher.attribution.unrolling.losses import predictions_of, randomness, set_randomness
from thresher.attribution.unrolling.rules import Rule, rules_of
from thresher.errors import InputError
from thresher.outputs import Batch


@dataclass(frozen=True)
class Part:
    """Sequences that training put through the model at once."""

    batch: Batch
    owners: Int[Tensor, "b ..."]
    """The number of the example of each row [b], or of each token [b, t]; any number where nothing is predicted."""
    randomness: list[Tensor] | None = None
    """The states of the random generators before its forward pass; None where that draws nothing."""


@dataclass(frozen=True)
class Step:
    """One step as it was taken."""

    parts: list[Part]
    total: int
    """Predictions in the whole batch, which its loss is the mean over."""
    weights: Float[Tensor, "n"]
    rules: dict[str, Rule]
    parameters: dict[str, Tensor]
    """Before the step."""
    gradients: dict[str, Tensor]
    """Of the whole batch, after clipping; a parameter that has none was left as it was."""
    norm: float
    """Of the whole gradient before clipping."""
    moments: dict[str, list[Tensor]]
    """After the step, in the order of the rule."""


class Replay(ABC):
    """A training at some step; `advance` takes the next one."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int
    """How many steps have been taken."""
    num_steps: int
    num_examples: int
    weights: Float[Tensor, "n"]
    """The weight of each example from the next step on; 1 in training as it was."""
    clip: float | None
    """Largest norm of the whole gradient."""
    seconds: float = 0.0
    """That the plain training took; 0 where nobody knows."""

    @abstractmethod
    def advance(self) -> float:
        """Take the next step, as training does, and leave its gradients in the parameters; the norm before clipping."""

    @abstractmethod
    def parts(self) -> tuple[list[Part], int]:
        """What the next step reads, and the number of predictions in it."""

    @abstractmethod
    def save(self, file: Path) -> None:
        """Keep the state in a file, as a `piece`."""

    @abstractmethod
    def restore(self, file: Path) -> None:
        """Go on from what `save` kept."""

    def difference(self) -> float:
        """How far the end is from the model that is scored, as a share of the way; 0 where there is no other."""
        return 0.0

    @property
    def names(self) -> list[str]:
        """The parameters that are trained: what the optimiser leaves out stays as it is."""
        moved = {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}
        parameters = self.model.named_parameters()
        return [name for name, parameter in parameters if parameter.requires_grad and id(parameter) in moved]

    def record(self) -> Step:
        """Take the next step, and say all of it that going back through it needs."""
        parameters = {name: self.model.get_parameter(name).detach().clone() for name in self.names}
        weights, (parts, total) = self.weights, self.parts()
        begun: list[list[Tensor]] = []
        device = next(iter(parameters.values())).device
        # A language model's loss may be computed from its body alone.
        body: nn.Module = getattr(self.model, "base_model", self.model)
        hook = body.register_forward_pre_hook(lambda *_: begun.append(randomness(device)))
        try:
            norm = self.advance()
        finally:
            hook.remove()
        if begun and not all(torch.equal(a, b) for a, b in zip(begun[0], randomness(device), strict=True)):
            parts = [Part(part.batch, part.owners, state) for part, state in zip(parts, begun, strict=True)]
        rules = rules_of(self.optimizer, self.model)
        gradients, moments = {}, {}
        for name in self.names:
            parameter = self.model.get_parameter(name)
            if parameter.grad is not None:
                gradients[name] = parameter.grad.detach().clone()
                state = self.optimizer.state[parameter]
                kept = [state.get(moment) for moment in rules[name].moments]
                moments[name] = [value.detach().clone() for value in kept if value is not None]
        return Step(parts, total, weights, rules, parameters, gradients, norm, moments)

    def run(self, advance: Callable[[int], None] = lambda done: None) -> None:
        """Take all steps that are left."""
        while self.step < self.num_steps:
            self.advance()
            advance(1)


class ModelReplay(Replay):
    """A training of `model` by `optimizer` on the given batches, which starts where both now stand.

    batches   of each step the model input, and the number of the example of each row or token
    rate      from the number of a step to its learning rate; None: as the optimiser stands
    clip      largest norm of the gradient of the trained parameters
    seed      what the generators are seeded with, together with the step; None: steps draw from them as they stand, and
              their state is kept and put back with that of the training

    Raises InputError for an optimiser that trains no parameter of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Sequence[tuple[Batch, Int[Tensor, "b ..."]]],
        num_examples: int,
        *,
        rate: Callable[[int], float] | None = None,
        clip: float | None = None,
        seed: int | None = None,
    ) -> None:
        self.model, self.optimizer, self.clip, self.seed = model, optimizer, clip, seed
        self.num_examples, self.num_steps, self.step = num_examples, len(batches), 0
        first = next(model.parameters())
        self.weights = torch.ones(num_examples, dtype=first.dtype, device=first.device)
        self._batches, self._rate = batches, rate
        if not self.names:
            raise InputError("the optimiser trains no parameter of the model; make it of model.parameters()")

    def parts(self) -> tuple[list[Part], int]:
        """The whole batch in one."""
        batch, owners = self._batches[self.step]
        labels = batch["labels"][:, 1:] if batch["labels"].ndim == 2 else batch["labels"]
        return [Part(batch, owners)], max(1, int((labels != -100).sum()))

    def advance(self) -> float:
        """Take the next step; the norm of its gradient before clipping."""
        if self.seed is not None:
            torch.manual_seed(self.seed + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"] if self._rate is None else self._rate(self.step)
        (part,), total = self.parts()
        self.optimizer.zero_grad(set_to_none=True)
        losses, owners = predictions_of(self.model, {}, part.batch, part.owners)
        ((losses * self.weights[owners]).sum() / total).backward()
        most = float("inf") if self.clip is None else self.clip
        trained = [self.model.get_parameter(name) for name in self.names]
        norm = torch.nn.utils.clip_grad_norm_(trained, most)
        self.optimizer.step()
        self.step += 1
        return float(norm)

    def save(self, file: Path) -> None:
        """Keep parameters, buffers, the optimiser's state and, without a seed, that of the random generators."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        if self.seed is None:
            state["randomness"] = randomness(self.weights.device)
        with piece(file) as scratch:
            torch.save(state, scratch)

    def restore(self, file: Path) -> None:
        """Go on from what `save` kept."""
        kept = torch.load(file, weights_only=True)
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.step = kept["step"]
        if "randomness" in kept:
            set_randomness(kept["randomness"], self.weights.device)
