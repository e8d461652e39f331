"""How a model is trained: optimiser, schedule, batches, length. One frozen record that replays the run."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from numbers import Integral, Real
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from thresher.choices import OPTIMIZERS, PRECISIONS, SCHEDULES
from thresher.data.examples import Examples, is_packed
from thresher.devices import has_bf16, has_bf16_tiles
from thresher.errors import InputError
from thresher.proxies.models import completep, ladder
from thresher.proxies.models.fits import Spec
from thresher.proxies.models.spec import model_depth, model_width, origin_of
from thresher.proxies.settings import LATER
from thresher.proxies.training.smooth import SmoothAdamW

BF16_WIDTH = 160
"""From which width bf16 is faster than float32 on a CPU that has it and no tiles (docs/log.md, 2026-11-30)."""


class Group(NamedTuple):
    """What the optimiser does alike: whether it decays, and what rate and eps are multiplied by."""

    is_decayed: bool
    rate: float = 1.0
    eps: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Every setting of a training; `for_task` has defaults that train each kind of proxy well.

    Raises InputError for a number out of range, and for an unknown optimizer, schedule or precision.
    """

    optimizer: str = "adamw"
    """`adamw` or `sgd`."""
    learning_rate: float | None = None
    """The peak; None takes the usual one for the model (`peak_rate`)."""
    schedule: str = "cosine"
    """How the rate falls after the warm-up: `cosine`, `linear`, `onecycle` (it also rises so) or `constant`."""
    warmup: float = 0.05
    """Share of the steps over which the rate rises to its peak."""
    weight_decay: float = 0.1
    """The decay of matrices and convolutions; biases, norms and other vectors are not decayed."""
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    eps_root: float = 0.0
    """What AdamW adds to v inside of its root (`smooth`): above 0 for trainings that metagradients go back through."""
    clip: float | None = 1.0
    """Largest norm of the whole gradient."""
    batch_size: int = 16
    """Sequences in a batch: of packed text, of rows, or images."""
    epochs: float = 1.0
    steps: int | None = None
    """Number of steps, instead of `epochs`."""
    num_tokens: int | None = None
    """Tokens (images) that the whole run sees, instead of `epochs`."""
    precision: str = "auto"
    """`float32`, `bf16`, or `auto`: the faster of them (`precision_on`)."""
    accumulate: int = 1
    """In how many parts a batch goes through the model, to save memory; the gradient is that of the whole batch."""
    activation_checkpointing: bool = False
    """Compute a block's activations again in the backward pass instead of keeping them (1604.06174)."""
    compile: bool = False
    """Through `torch.compile`."""
    keep_optimizer: bool = False
    """Keep the optimiser's state at the end beside the weights (`optimizer_state`): trackstar takes second moments."""
    shuffle_sequences: bool = True
    """Permute the packed sequences of each epoch (`order`), so that a batch is of many documents. What is not packed is
    permuted one by one anyway. A record without it is of before, when nothing was permuted.
    """

    def __post_init__(self) -> None:
        self._check_kinds()
        positive = {"batch_size": self.batch_size, "epochs": self.epochs, "eps": self.eps}
        positive |= {"accumulate": self.accumulate}
        positive |= {name: getattr(self, name) for name in ("learning_rate", "steps", "num_tokens", "clip")}
        for name, value in positive.items():
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name}={value} in the config; pass a number above 0")
        shares = {"warmup": self.warmup, "momentum": self.momentum, "beta1": self.betas[0], "beta2": self.betas[1]}
        for name, value in shares.items():
            if not 0 <= value < 1:
                raise InputError(f"{name}={value} in the config; pass a number from 0 to below 1")
        for name, value in {"weight_decay": self.weight_decay, "eps_root": self.eps_root}.items():
            if not 0 <= value < math.inf:
                raise InputError(f"{name}={value} in the config; pass 0 or more")
        if self.eps_root and self.optimizer != "adamw":
            raise InputError(f"eps_root={self.eps_root} with {self.optimizer}, which has no root; leave it out")
        for name, known in {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "precision": PRECISIONS}.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name}={getattr(self, name)!r} in the config; pass one of: {', '.join(known)}")

    def _check_kinds(self) -> None:
        whole = {name: getattr(self, name) for name in ("batch_size", "steps", "num_tokens", "accumulate")}
        for name, value in whole.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, Integral)):
                raise InputError(f"{name}={value!r} in the config; pass a whole number")
        names = ("learning_rate", "warmup", "weight_decay", "momentum", "eps", "eps_root", "clip", "epochs")
        numbers = [(name, getattr(self, name)) for name in names] + [("betas", beta) for beta in self.betas]
        for name, value in numbers:
            if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
                raise InputError(f"{name}={value!r} in the config; pass a number")
        if len(self.betas) != 2:
            raise InputError(f"betas={self.betas} in the config; pass two numbers, as AdamW has")

    @classmethod
    def for_language(cls, **changes: Any) -> "TrainConfig":
        """The defaults for text, with `changes`: AdamW on a cosine schedule, one epoch in shuffled batches of 16."""
        return cls(**changes)

    @classmethod
    def for_vision(cls, **changes: Any) -> "TrainConfig":
        """The defaults for images, with `changes`, as in Small-to-Large (arXiv 2505.16260).

        They are SGD, one cycle, weight decay 5e-4, batches of 512, 30 epochs, and no clipping.
        """
        vision = cls(optimizer="sgd", schedule="onecycle", weight_decay=5e-4, clip=None, batch_size=512, epochs=30.0)
        return replace(vision, **changes)

    @classmethod
    def for_task(cls, task: str, **changes: Any) -> "TrainConfig":
        """The defaults for a task (`vision`, `language` or `text-classification`), with `changes`."""
        return cls.for_vision(**changes) if task == "vision" else cls.for_language(**changes)

    @property
    def record(self) -> dict[str, Any]:
        """Every setting, as an artefact's request holds it; what came later is there only where it is in use."""
        return {name: value for name, value in asdict(self).items() if value or name not in LATER}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "TrainConfig":
        """The configuration that `record` was made of, also after a way through JSON."""
        return cls(**{"shuffle_sequences": False, **record, "betas": tuple(record["betas"])})

    def num_units(self, budget: int, sequence_length: float) -> int:
        """Tokens, or images, that the whole run sees, where an epoch has `budget` of them.

        A batch holds `batch_size` sequences of `sequence_length` tokens (1 of images).
        """
        if self.steps is not None:
            return max(1, round(self.steps * self.batch_size * sequence_length))
        return self.num_tokens or max(1, round(self.epochs * budget))

    def num_steps(self, num_units: int, sequence_length: float) -> int:
        """Steps that see `num_units` tokens, or images, in all."""
        # Rounded first: a whole number of batches must not become one more by a rounding.
        return self.steps or max(1, math.ceil(round(num_units / (self.batch_size * sequence_length), 6)))

    def peak_rate(self, spec: Spec) -> float:
        """The peak learning rate for the model of `spec`: the one asked for, or else that of a rule.

        The rule is by batch size for SGD; for AdamW it is by the depth of a model of the ladder and by whether
        sequences are shuffled, or with `parametrization` standard by its width. Where the source is pretrained it is
        smaller.
        """
        source, width = origin_of(spec), model_width(spec) if spec["source"] == "ladder" else None
        if self.learning_rate is not None:
            return self.learning_rate
        if self.optimizer == "sgd":
            return ladder.vision_learning_rate(self.batch_size) * (0.1 if source in PRETRAINED_RATES else 1.0)
        if source in PRETRAINED_RATES:
            return PRETRAINED_RATES[source]
        if spec.get("parametrization") == "completep":
            return completep.learning_rate(model_depth(spec), is_shuffled=self.shuffle_sequences)
        return ladder.language_learning_rate(width) if width else 1e-3

    def precision_on(self, spec: Spec, device: torch.device) -> str:
        """`float32` or `bf16`: the one asked for, or of `auto` the faster: bf16 where the chip has it.

        But for perceptrons, and for models of the ladder below `BF16_WIDTH` on a CPU without tiles of bf16.
        """
        if self.precision != "auto":
            return self.precision
        is_narrow = spec["source"] == "ladder" and (model_width(spec) or BF16_WIDTH) < BF16_WIDTH
        gains = has_bf16_tiles(device) if is_narrow else has_bf16(device)
        return "bf16" if gains and spec["source"] != "mlp" else "float32"

    def settled(self, spec: Spec, examples: Examples) -> "TrainConfig":
        """What a request says of a training on `examples`: the ladder's own rate where none is asked for.

        Of examples that are not packed, which are permuted one by one, it says nothing of sequences.
        """
        is_cut = is_packed(examples)
        asked = self if is_cut else replace(self, shuffle_sequences=True)
        rate = asked.peak_rate(spec) if spec.get("parametrization") == "completep" else self.learning_rate
        return replace(self, learning_rate=rate, shuffle_sequences=is_cut and self.shuffle_sequences)

    def rate(self, step: int, num_steps: int) -> float:
        """The learning rate of `step` as a share of the peak. `onecycle` (1708.07120) is a cosine on both sides."""
        warm = self.warmup * num_steps
        if step < warm:
            rise = (step + 1) / (math.floor(warm) + 1)
            return rise if self.schedule != "onecycle" else 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * rise)) / 2
        left = (num_steps - step) / max(1.0, num_steps - warm)
        if self.schedule == "constant":
            return 1.0
        return left if self.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2

    def make_optimizer(self, model: nn.Module, rate: float) -> torch.optim.Optimizer:
        """The optimiser of a model's trained parameters at learning rate `rate`; matrices are decayed, vectors are not.

        The scales of the model's parametrization (`completep`; of images its `rate_multipliers`, for SGD) are those of
        its groups. The decay of a scaled parameter is scaled back, so that rate times decay is the same for all.
        """
        groups: dict[Group, list[Tensor]] = {}
        scale = self._scales(model)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(Group(parameter.ndim >= 2, *scale(name)), []).append(parameter)
        return self.optimizer_of(groups, rate)

    def optimizer_of(self, groups: dict[Group, list[Tensor]], rate: float) -> torch.optim.Optimizer:
        """The optimiser of parameters that are grouped by what is done to them.

        The factor of the rate stays in each of the optimiser's groups as `multiplier`.
        """
        parameter_groups: list[dict[str, Any]] = [
            {
                "params": parameters,
                "weight_decay": self.weight_decay / group.rate if group.is_decayed else 0.0,
                "multiplier": group.rate,
                "lr": rate * group.rate,
            }
            for group, parameters in groups.items()
        ]
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameter_groups, lr=rate, momentum=self.momentum, fused=True)
        for made, group in zip(parameter_groups, groups, strict=True):
            made["eps"] = self.eps * group.eps
        if self.eps_root:
            for made, group in zip(parameter_groups, groups, strict=True):
                made["eps_root"] = self.eps_root * group.eps**2
            return SmoothAdamW(parameter_groups, lr=rate, betas=self.betas)
        return torch.optim.AdamW(parameter_groups, lr=rate, betas=self.betas, fused=True)

    def _scales(self, model: Any) -> Callable[[str], tuple[float, float]]:
        """The factors of the rate and of eps of each parameter, by its name."""
        scales: Mapping[str, completep.Scale] = getattr(model, "scales", {})
        if self.optimizer == "adamw":
            return lambda name: scales.get(name, completep.Scale())
        by_name = getattr(model, "rate_multipliers", dict)() | {name: scale.sgd for name, scale in scales.items()}
        return lambda name: (by_name.get(name, 1.0), 1.0)


# AdamW's, of a checkpoint trained further, and of adapters beside it (QLoRA, 2305.14314).
PRETRAINED_RATES = {"pretrained": 5e-5, "lora": 2e-4}
