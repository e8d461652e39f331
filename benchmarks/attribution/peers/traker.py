"""traker 0.3.2: `TRAKer` on the CPU in float32, so BasicProjector, as its documentation uses it.

Its scores are of margins: higher is more helpful. Nothing is flipped.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from trak import TRAKer
from trak.modelout_functions import AbstractModelOutput

from benchmarks.attribution.peers.child import plain_round
from benchmarks.attribution.peers.common import Job
from benchmarks.attribution.peers.data import batches, is_text, load_model, pairs, pool_of, targets_of

MULTIPLES = (0.0, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of mean(diag K), as `lambda_reg` of `scores`; traker's default is 0."""


class LanguageOutput(AbstractModelOutput):
    """Mean log-odds of the predicted tokens, as a traker user would write it: logits by `torch.func`, for vmap.

    Texts of a batch are padded to one length, labels with numbers below 0 that count for nothing.
    """

    def __init__(self) -> None:
        super().__init__()

    @staticmethod
    def get_output(model, weights, buffers, tokens: Tensor, labels: Tensor) -> Tensor:
        logits = torch.func.functional_call(model, (weights, buffers), tokens[None]).logits[0, :-1]
        counts, labels = labels[1:] >= 0, labels[1:, None].clamp(min=0)
        right = logits.gather(1, labels)[:, 0]
        others = logits.scatter(1, labels, -torch.inf).logsumexp(dim=1)
        return torch.where(counts, right - others, 0.0).sum() / counts.sum()

    def get_out_to_loss_grad(self, model, weights, buffers, batch) -> Tensor:
        tokens, labels = batch
        with torch.no_grad():
            logits = torch.func.functional_call(model, (weights, buffers), tokens).logits[:, :-1]
            counts = labels[:, 1:] >= 0
            chances = logits.softmax(dim=2).gather(2, labels[:, 1:, None].clamp(min=0))[:, :, 0]
        return (1 - (chances * counts).sum(dim=1) / counts.sum(dim=1))[:, None]


def rounds(job: Job) -> tuple[Callable, Callable]:
    """A round is one batch through `TRAKer.featurize`."""
    model, pool = load_model(job.models[0]), pool_of(job)
    plain, given = next(batches(pool)), next(pairs(pool))
    traker = _traker(job, model, 64 * len(given[0]))
    traker.load_checkpoint(model.state_dict(), model_id=0)

    def theirs() -> None:
        traker.featurize(batch=given, num_samples=len(given[0]))

    return plain_round(model, [plain]), theirs


def whole(job: Job) -> None:
    model, pool = load_model(job.models[0]), pool_of(job)
    traker = _traker(job, model, len(pool))
    traker.load_checkpoint(model.state_dict(), model_id=0)
    for batch in pairs(pool):
        traker.featurize(batch=batch, num_samples=len(batch[0]))


def scores(job: Job) -> dict:
    """`NAME.npy` [n, t] at each lambda of MULTIPLES; gradients are taken once."""
    pool, targets = pool_of(job), targets_of(job)
    traker = _traker(job, load_model(job.models[0]), len(pool))
    for model_id, folder in enumerate(job.models):
        state = load_model(folder).state_dict()
        traker.load_checkpoint(state, model_id=model_id)
        for batch in pairs(pool):
            traker.featurize(batch=batch, num_samples=len(batch[0]))
        # `score` wants a checkpoint that is finalised, and gradients do not depend on how.
        traker.saver.model_ids[model_id]["is_finalized"] = 1
        traker.start_scoring_checkpoint("targets", state, model_id, len(targets))
        for batch in pairs(targets):
            traker.score(batch=batch, num_samples=len(batch[0]))
    found = {}
    for multiple in MULTIPLES:
        name = f"traker-k{job.k}-{multiple:g}"
        try:
            values = _at(traker, multiple, len(job.models))
        except torch.linalg.LinAlgError as error:
            found[name] = {"error": str(error).splitlines()[0]}
            continue
        np.save(Path(job.out) / f"{name}.npy", values)
        found[name] = {"damping": multiple}
    return {"scores": found}


def _at(traker: TRAKer, multiple: float, num_models: int) -> np.ndarray:
    """The scores with another lambda, in multiples of the mean diagonal of each checkpoint's kernel."""
    for model_id in range(num_models):
        traker.saver.load_current_store(model_id)
        mean_diagonal = float(np.square(traker.saver.current_store["grads"]).sum(axis=0).mean())
        traker.score_computer.lambda_reg = multiple * mean_diagonal
        traker.saver.model_ids[model_id]["is_finalized"] = 0
        traker.projector.proj_matrix = None  # `finalize_features` deletes it, and does not forgive a second time
        traker.finalize_features(model_ids=[model_id])
    return np.array(traker.finalize_scores(exp_name="targets"))


def _traker(job: Job, model: torch.nn.Module, size: int) -> TRAKer:
    task = LanguageOutput() if is_text(pool_of(job)) else "image_classification"
    return TRAKer(
        model=model,
        task=task,
        train_set_size=size,
        save_dir=str(Path(job.out) / "traker"),
        load_from_save_dir=True,
        device="cpu",
        proj_dim=job.k,
        use_half_precision=False,
        logging_level=logging.WARNING,
    )
