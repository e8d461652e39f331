"""DoReMi's proxy: uniform draws, each domain's loss weighted by how far it lags a reference, step by step."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from thresher.artifacts import Artifact, Draft, build
from thresher.data.examples import Examples
from thresher.outputs import Batch, logits_of
from thresher.progress import SILENT, Progress
from thresher.proxies.models.spec import Spec, private_randomness
from thresher.proxies.models.weights import open_model
from thresher.proxies.training.order import Drawn, Order
from thresher.proxies.training.trainer import TrainConfig, Trainer
from thresher.selection.mixture.doremi import begin, mean_excess


class ReweightedTrainer(Trainer):
    """A training run whose loss weights domains anew at every step (arXiv 2305.10429, Algorithm 1)."""

    def __init__(self, *arguments, reference: nn.Module, eta: float, smoothing: float, **options):
        super().__init__(*arguments, weights=None, **options)
        names, place = np.unique(self.examples.domains, return_inverse=True)
        self.domains, self.place = names.tolist(), place
        self.reference = reference.to(self.device).eval()
        self.doremi = begin(len(self.domains), eta=eta, smoothing=smoothing)
        self.path: list[np.ndarray] = []

    def _step(self, step: int) -> None:
        drawn = self.order.batch(step)
        batch = {name: tensor.to(self.device) for name, tensor in drawn.batch.items()}
        with torch.no_grad():
            ours, theirs = token_losses(self.state.model, batch), token_losses(self.reference, batch)
        domains = self.place[predicted_owners(drawn)]
        excess = mean_excess(ours.numpy(), theirs.numpy(), domains, len(self.domains))
        self.doremi = self.doremi.step(excess)
        self.path.append(self.doremi.weights)
        # Draws are uniform over domains, so the share of a domain in the loss is its weight; 1 on average.
        per_domain = torch.from_numpy(self.doremi.weights * len(self.domains)).float()
        self.weights = per_domain[torch.from_numpy(self.place)]
        super()._step(step)


def predicted_owners(drawn: Drawn) -> Int[np.ndarray, "p"]:
    """The position in the pool that each prediction of a batch is of, in the order of `token_losses`."""
    if drawn.owners.ndim == 1:
        return drawn.owners
    return drawn.owners[:, 1:][drawn.batch["labels"][:, 1:].numpy() != -100]


def token_losses(model: nn.Module, batch: Batch) -> Float[Tensor, "p"]:
    """The loss of every prediction of a batch."""
    logits, labels = logits_of(model, batch), batch["labels"]
    if logits.ndim == 3:
        labels = F.pad(labels[:, 1:], (0, 1), value=-100)
    losses = F.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), reduction="none")
    return losses[labels.flatten() != -100].cpu()


def train_doremi(
    spec: Spec,
    pool: Examples,
    reference: Artifact,
    *,
    out: Path,
    config: TrainConfig,
    budget: int,
    eta: float,
    smoothing: float,
    seed: int,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Artifact:
    """An artefact of kind "doremi": `path.npy` [steps, m], the weights after each step; facts: `domains`, `flops`.

    A killed run begins again: the state of the weights is not kept, proxies being small.
    """
    names = np.unique(pool.domains).tolist()
    mixture, indices = dict.fromkeys(names, 1 / len(names)), np.arange(len(pool))

    def write(draft: Draft) -> Mapping[str, Any]:
        order = Order(pool, indices, mixture, config, seed=seed, budget=budget)
        trainer = ReweightedTrainer(
            spec,
            pool,
            order,
            config,
            reference=open_model(reference.path),
            eta=eta,
            smoothing=smoothing,
            seed=seed,
            device=device,
        )
        with private_randomness():
            trainer.run(draft.state / "training.safetensors", float("inf"), progress)
        with draft.file("path.npy") as file, open(file, "wb") as stream:
            np.save(stream, np.array(trainer.path))
        facts = trainer.facts()
        return {"domains": trainer.domains, **{name: facts[name] for name in ("num_parameters", "flops", "num_steps")}}

    made_by = {"spec": spec, "training": asdict(config), "budget": budget, "eta": eta, "smoothing": smoothing}
    inputs = {"examples": pool.content_hash, "reference": reference.content_hash}
    return build(out, kind="doremi", config=made_by, seed=seed, inputs=inputs, write=write)
