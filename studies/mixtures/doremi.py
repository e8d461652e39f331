"""DoReMi by training: a proxy on even draws of the domains, each one's loss weighted by how far it lags a reference."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from thresher.artifacts import Artifact, Draft, build
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.outputs import Batch, logits_of
from thresher.progress import SILENT, Progress
from thresher.proxies.models.spec import Spec, private_randomness
from thresher.proxies.models.weights import open_model
from thresher.proxies.planned import Planned, say_planned
from thresher.proxies.settings import ModelSettings
from thresher.proxies.training.chosen import spec_of, train_config_of
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.order import Drawn, Order
from thresher.proxies.training.trainer import Trainer
from thresher.proxies.trials import Trial, train_trial
from thresher.seeds import run_seed
from thresher.selection.mixture.baselines import natural
from thresher.selection.mixture.doremi import begin, mean_excess, summarise
from thresher.studies.experiments.training_sets import supply
from thresher.studies.mixtures.runs import run_budget
from thresher.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class DoReMiSettings:
    """The models of a DoReMi, and how the weights move."""

    model: ModelSettings
    """Of the reference and the proxy alike."""
    tokens: int | None = None
    """Tokens that each trains on; None: what `examples` hold."""
    examples: int = 4000
    """Images that each trains on; of text, what so many average documents hold."""
    eta: float = 1.0
    """Step size of the weights."""
    smoothing: float = 1e-3
    """Share of uniform weights mixed in at every step."""
    seeds: int = 3
    """Proxies, each with a reference of its own, for the interval."""
    seed: int = 0


def reweight_by_doremi(pool: Examples, settings: DoReMiSettings, workspace: Workspace) -> dict[str, Any]:
    """Train references on uniform domains, then proxies whose domains are reweighted; return the mean of their weights.

    The result is that of `summarise`, with `seed`, `flops` and `num_trained`. Raises InputError for fewer than 1 seed
    and for a pool with fewer than 2 domains.
    """
    if settings.seeds < 1:
        raise InputError(f"--seeds {settings.seeds}; pass 1 or more")
    tokens, budget = supply(pool), run_budget(pool, settings.tokens, settings.examples)
    spec = spec_of(settings.model, pool)
    config = train_config_of(settings.model, spec, pool)
    domains, uniform = list(tokens), dict.fromkeys(tokens, 1 / len(tokens))
    paths, flops = [], 0
    if not (workspace.root / "models").exists():
        runs = Planned(settings.model, [float(budget)] * (2 * settings.seeds))
        say_planned([runs], pool, workers=1, workspace=workspace)
    with workspace.progress.task("DoReMi", 2 * settings.seeds) as advance:
        for repeat in range(settings.seeds):
            seed = run_seed(settings.seed, "doremi", repeat)
            trial = Trial("uniform", repeat, seed, np.arange(len(pool)), budget, uniform)
            reference = train_trial(pool, settings.model, trial, workspace)
            advance(1)
            made_from = (reference.content_hash, settings.eta, settings.smoothing, config.record)
            proxy = train_doremi(
                spec,
                pool,
                reference,
                out=workspace.place(f"doremi-{repeat}", *made_from),
                config=config,
                budget=budget,
                eta=settings.eta,
                smoothing=settings.smoothing,
                seed=run_seed(seed, "proxy"),
                device=workspace.device,
                progress=workspace.progress,
            )
            advance(1)
            paths.append(np.load(proxy.file("path.npy")))
            flops += reference.facts["flops"] + proxy.facts["flops"]
    result = summarise(domains, paths, natural=natural(domains, tokens))
    return result | {"seed": settings.seed, "flops": flops, "num_trained": 2 * settings.seeds}


class ReweightedTrainer(Trainer):
    """A training run whose loss weights domains anew at every step (arXiv 2305.10429, Algorithm 1)."""

    def __init__(self, *arguments: Any, reference: nn.Module, eta: float, smoothing: float, **options: Any):
        super().__init__(*arguments, weights=None, **options)
        names, number = np.unique(self.examples.domains, return_inverse=True)
        self.domains, self.domain_of = names.tolist(), number
        self.reference = reference.to(self.device).eval()
        self.doremi = begin(len(self.domains), eta=eta, smoothing=smoothing)
        self.path: list[np.ndarray] = []

    def take_step(self) -> None:
        """Weight the domains by what the model lacks of the reference on the next batch, then take the step."""
        drawn = self.order.batch(self.state.step)
        batch = {name: tensor.to(self.device) for name, tensor in drawn.batch.items()}
        with torch.no_grad():
            ours, theirs = token_losses(self.state.model, batch), token_losses(self.reference, batch)
        domains = self.domain_of[predicted_owners(drawn)]
        excess = mean_excess(ours.numpy(), theirs.numpy(), domains, len(self.domains))
        self.doremi = self.doremi.step(excess)
        self.path.append(self.doremi.weights)
        # Draws are uniform over domains, so the share of a domain in the loss is its weight; 1 on average.
        per_domain = torch.from_numpy(self.doremi.weights * len(self.domains)).float()
        self.weights = per_domain[torch.from_numpy(self.domain_of)]
        super().take_step()


def predicted_owners(drawn: Drawn) -> Int[np.ndarray, "p"]:
    """The pool position of the example that each prediction of a batch belongs to, in the order of `token_losses`."""
    if drawn.owners.ndim == 1:
        return drawn.owners
    return drawn.owners[:, 1:][drawn.batch["labels"][:, 1:].numpy() != -100]


def token_losses(model: nn.Module, batch: Batch) -> Float[Tensor, "p"]:
    """The loss of every prediction of a batch, in nats."""
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

    A run that was killed begins again, because the state of the weights is not kept: proxies are small.
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

    made_by = {"spec": spec, "training": config.record, "budget": budget, "eta": eta, "smoothing": smoothing}
    inputs = {"examples": pool.content_hash, "reference": reference.content_hash}
    return build(out, kind="doremi", config=made_by, seed=seed, inputs=inputs, write=write)
