"""A callback for the `transformers` Trainer: features, or scores, of a pool under the model as each save has it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from thresher.api.featurizing import featurize
from thresher.api.handle import Source
from thresher.api.handles import Examples, FeatureStore, Scores, named
from thresher.api.loaders import own_randomness
from thresher.api.scoring import score
from thresher.errors import InputError


class AttributionCallback(TrainerCallback):
    """Whenever the Trainer saves a checkpoint, attribute to the prepared `pool` under the same weights.

    Without `targets` the features go to OUT/checkpoint-STEP/features (`thresher.featurize`), with targets, prepared
    examples by name or one by itself, the scores to OUT/checkpoint-STEP/scores (`thresher.score`). `options` are those
    of that verb. The model is copied in float32 for it, and nothing is drawn from the training's random numbers: a
    training with the callback ends in the weights that it ends in without. A training that is taken up again finds what
    is there. Only the first process works; the others wait at the Trainer's next step.
    """

    def __init__(
        self,
        pool: Source,
        *,
        out: str | Path,
        targets: Mapping[str, Source] | Source | None = None,
        **options: Any,
    ) -> None:
        self.pool, self.out, self.options = Examples.of(pool), Path(out), options
        self.targets = None if targets is None else {name: Examples.of(one) for name, one in named(targets).items()}
        self.made: dict[int, FeatureStore | Scores] = {}
        """By the step of the checkpoint."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuse, before the first step, a model whose tokens are others, or that is in pieces. Raises InputError."""
        if getattr(args, "fsdp", None) or getattr(args, "deepspeed", None):
            raise InputError(
                "FSDP and DeepSpeed cut the model into pieces, so that no process can attribute while it trains; leave "
                "the callback out, and score the saved checkpoints afterwards"
            )
        vocab_size: int | None = getattr(getattr(kwargs.get("model"), "config", None), "vocab_size", None)
        needed: int | None = self.pool.facts.get("vocab_size")
        if vocab_size is not None and needed is not None and needed > vocab_size:
            raise InputError(
                f"{self.pool.path} has vocab_size {needed}, but the model that is trained has {vocab_size}; prepare it "
                "with the model's own tokenizer"
            )

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Make the features or scores of this step. Raises InputError as the verbs do."""
        if not state.is_world_process_zero:
            return
        model, step = kwargs["model"], state.global_step
        assert isinstance(model, nn.Module)
        out = self.out / f"checkpoint-{step}"
        devices = list(range(torch.cuda.device_count()))
        with own_randomness(), torch.random.fork_rng(devices):
            if self.targets is None:
                self.made[step] = featurize(model, self.pool, out=out / "features", **self.options)
            else:
                self.made[step] = score(self.pool, self.targets, models=model, out=out / "scores", **self.options)
