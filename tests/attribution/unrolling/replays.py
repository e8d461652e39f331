"""Small trainings in float64, made anew on every call, and what retraining with other weights does to their end."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from thresher.attribution.unrolling.losses import predictions_of
from thresher.attribution.unrolling.replay import ModelReplay
from thresher.outputs import Batch
from thresher.proxies.training.smooth import SmoothAdamW

NUM_EXAMPLES, NUM_STEPS = 8, 7

Make = Callable[[], ModelReplay]


def perceptron(kind: str, *, dropout: float = 0.0, seed: int | None = 5) -> ModelReplay:
    """By `sgd`, `sgd-plain`, `adamw` or `smooth`: decay, a falling rate, and a norm that clips some of the steps."""
    draw = torch.Generator().manual_seed(3)
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Tanh(), nn.Dropout(dropout), nn.Linear(5, 3)).double()
    images = torch.randn(NUM_EXAMPLES, 1, 2, 2, generator=draw, dtype=torch.float64)
    labels = torch.randint(0, 3, (NUM_EXAMPLES,), generator=draw)
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": 0.2},
        {"params": [p for p in net.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    peak = 0.3 if kind.startswith("sgd") else 0.05
    optimizer = optimizer_of(kind, groups, peak)
    batches = []
    for _ in range(NUM_STEPS):
        rows = torch.randperm(NUM_EXAMPLES, generator=draw)[:4]
        batches.append(({"pixel_values": images[rows], "labels": labels[rows]}, rows))
    options = {"rate": lambda step: peak * (1 - step / 10), "clip": 0.5, "seed": seed if dropout else None}
    return ModelReplay(net.train(), optimizer, batches, NUM_EXAMPLES, **options)


def warm(kind: str) -> ModelReplay:
    """The last steps of a perceptron's training, by an optimiser that has taken the first ones already."""
    begun = perceptron(kind)
    while begun.step < 3:
        begun.advance()
    return ModelReplay(begun.model, begun.optimizer, begun._batches[3:], NUM_EXAMPLES, clip=begun.clip)


class Late(nn.Module):
    """A perceptron with a second head, which batches that begin with some of the images do not go through."""

    def __init__(self, early: Tensor) -> None:
        super().__init__()
        self.body, self.head, self.second, self.early = nn.Linear(4, 5), nn.Linear(5, 3), nn.Linear(5, 3), early

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.tanh(self.body(images.flatten(1)))
        is_early = bool((images[0].flatten() == self.early).all(dim=1).any())
        return self.head(hidden) if is_early else self.head(hidden) + self.second(hidden)


def late(*, whole: bool) -> ModelReplay:
    """Of the parameters one head has a first gradient at the third step; `whole`: the optimiser has the body too."""
    batches = perceptron("smooth")._batches
    torch.manual_seed(1)
    net = Late(torch.stack([batch["pixel_values"][0].flatten() for batch, _ in batches[:2]])).double()
    trained = [p for name, p in net.named_parameters() if whole or not name.startswith("body")]
    optimizer = optimizer_of("smooth", [{"params": trained, "weight_decay": 0.1}], 0.05)
    return ModelReplay(net.train(), optimizer, batches, NUM_EXAMPLES, clip=0.5)


def transformer() -> ModelReplay:
    """A GPT-2 with a tied head on packed text: documents go on from sequence to sequence, the last is padded."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(2)
    sizes = {"vocab_size": 11, "n_positions": 6, "n_embd": 4, "n_layer": 1, "n_head": 2}
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = GPT2LMHeadModel(GPT2Config(**sizes, **off, bos_token_id=None, eos_token_id=None)).double().train()
    optimizer = optimizer_of("smooth", [{"params": list(model.parameters()), "weight_decay": 0.1}], 0.02)
    draw = torch.Generator().manual_seed(4)
    batches = []
    for _ in range(NUM_STEPS):
        tokens = torch.randint(0, 11, (3, 6), generator=draw)
        owners = torch.randint(0, NUM_EXAMPLES, (3, 6), generator=draw).sort(dim=1).values
        labels = tokens.clone()
        labels[:, 0], labels[2, 4:], owners[2, 4:] = -100, -100, -1
        batches.append(({"input_ids": tokens, "labels": labels}, owners))
    return ModelReplay(model, optimizer, batches, NUM_EXAMPLES, clip=1.0)


def optimizer_of(kind: str, groups: list[dict], rate: float) -> torch.optim.Optimizer:
    if kind.startswith("sgd"):
        return torch.optim.SGD(groups, lr=rate, momentum=0.0 if kind == "sgd-plain" else 0.9)
    options = {"lr": rate, "betas": (0.8, 0.9), "eps": 1e-3}
    return torch.optim.AdamW(groups, **options) if kind == "adamw" else SmoothAdamW(groups, eps_root=1e-4, **options)


def probe_of(replay: ModelReplay) -> tuple[Batch, Tensor]:
    """What the end is judged by: two targets, the first two rows of a batch that is drawn anew."""
    draw = torch.Generator().manual_seed(9)
    batch, _ = replay._batches[0]
    if "input_ids" in batch:
        tokens = torch.randint(0, 11, (2, 6), generator=draw)
        return {"input_ids": tokens, "labels": tokens.clone()}, torch.arange(2)
    images = torch.randn(2, 1, 2, 2, generator=draw, dtype=torch.float64)
    return {"pixel_values": images, "labels": torch.tensor([0, 2])}, torch.arange(2)


def outcomes(replay: ModelReplay) -> Tensor:
    """The loss of each target, [2], differentiable."""
    replay.model.eval()
    losses, owners = predictions_of(replay.model, {}, *probe_of(replay))
    replay.model.train()
    return torch.zeros(2, dtype=losses.dtype).index_add(0, owners, losses)


def gradients_at_end(replay: ModelReplay) -> dict[str, Tensor]:
    """Of each target's loss, [2, *shape] by parameter."""
    parameters = dict(replay.model.named_parameters())
    rows = [torch.autograd.grad(loss, list(parameters.values()), retain_graph=True) for loss in outcomes(replay)]
    return {name: torch.stack(values) for name, values in zip(parameters, zip(*rows, strict=True), strict=True)}


def retrained(make: Make, example: int, weight: float, start: int = 0) -> Tensor:
    """The targets' losses after a training in which an example has another weight from step `start` on."""
    replay = make()
    while replay.step < start:
        replay.advance()
    replay.weights[example] = weight
    replay.run()
    return outcomes(replay).detach()


def differences(make: Make, start: int = 0, h: float = 1e-5) -> Tensor:
    """d outcome / d weight, [2, n], by central differences of retrainings."""
    columns = [
        (retrained(make, i, 1 + h, start) - retrained(make, i, 1 - h, start)) / (2 * h) for i in range(NUM_EXAMPLES)
    ]
    return torch.stack(columns, dim=1)
