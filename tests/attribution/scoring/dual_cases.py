"""Models in float64 and the exact scores by autograd, for the tests of what scores without features."""

import numpy as np
import torch
import transformers
from torch import nn

from tests.attribution.cases import digits, token_examples
from thresher.data.examples import TokenExamples
from thresher.outputs import logits_of, outputs_of


class Double(nn.Module):
    """Images come in float32."""

    def forward(self, x):
        return x.double()


def mlp(seed):
    torch.manual_seed(seed)
    layers = [nn.Linear(64, 9), nn.Tanh(), nn.LayerNorm(9), nn.Linear(9, 10, bias=False)]
    return nn.Sequential(Double(), nn.Flatten(), *layers).double().eval()


class Twice(nn.Module):
    """One layer in two places."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x):
        return torch.tanh(self.inner(torch.tanh(self.inner(x))))


def cnn(seed):
    torch.manual_seed(seed)
    first = [nn.Conv2d(1, 6, 3, stride=2, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True), Twice()]
    last = [nn.Conv2d(6, 6, 2, groups=3), nn.GroupNorm(2, 6), nn.Flatten(), nn.Linear(24, 10)]
    model = nn.Sequential(Double(), *first, *last)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer += 0.5 * torch.rand_like(buffer)
    return model.double().eval()


def gpt2(seed):
    """Its embedding is its head."""
    torch.manual_seed(seed)
    config = transformers.GPT2Config(vocab_size=19, n_positions=12, n_embd=12, n_layer=1, n_head=2)
    return transformers.AutoModelForCausalLM.from_config(config).double().eval()


def examples(folder, make):
    """A pool of 23 and a target of 7, of the kind the model takes; of text up to four windows each."""
    if make is gpt2:
        rng = np.random.default_rng(1)
        pool, target, sizes = rng.integers(3, 39, 23), rng.integers(3, 39, 7), {"width": 38, "window": 12}
        return (
            token_examples(folder / "pool", pool, **sizes),
            token_examples(folder / "target", target, seed=1, prefix="t", **sizes),
        )
    return digits(folder / "pool", slice(0, 23)), digits(folder / "target", slice(200, 207), prefix="t")


def by_window(examples):
    """Each window of text as an example of its own."""
    return examples.by_window() if isinstance(examples, TokenExamples) else examples


def gradients(model, examples, output="margin"):
    """[n, P] by one backward pass an example, and the confidence of each: means over its predicted tokens."""
    rows, confidences = [], []
    for i in range(len(examples)):
        batch = examples.batch(examples.windows_of([i])[0])
        outputs = outputs_of(logits_of(model, batch), batch["labels"])
        labels = batch["labels"]
        counts = (labels[:, 1:] != -100).sum(dim=1).double() if labels.ndim > 1 else torch.ones(len(labels)).double()
        made = torch.autograd.grad((getattr(outputs, output) * counts).sum() / counts.sum(), list(model.parameters()))
        rows.append(torch.cat([gradient.flatten() for gradient in made]).numpy())
        confidences.append(float((outputs.confidence * counts).sum() / counts.sum()))
    return np.stack(rows), np.array(confidences)


def exact_scores(models, pool, target, multiple, q="sqrt", output="margin"):
    """G (G^T G + lambda I)^{-1} g_t of every pair, [n, t], in parameter space; lambda = multiple * mean |g|^2."""
    total, doubt = 0, 0
    for _, load in models:
        model = load()
        (own, confidence), (other, _) = gradients(model, pool, output), gradients(model, target, output)
        damping = multiple * np.square(own).sum(axis=1).mean()
        total = total + own @ np.linalg.solve(own.T @ own + damping * np.eye(own.shape[1]), other.T) / len(models)
        doubt = doubt + (1 - confidence) / len(models)
    power = {"sqrt": 0.5, "mean": 1, "none": 0}[q] if output == "margin" else 0
    return total * doubt[:, None] ** power


def named(model, vectors):
    """Rows [d, P] in the order of the parameters, as [d, *shape] by parameter."""
    parameters = dict(model.named_parameters())
    ends = np.cumsum([parameter.numel() for parameter in parameters.values()])[:-1]
    parts = np.split(vectors, ends, axis=1)
    return {
        name: torch.from_numpy(part).view(-1, *parameter.shape)
        for (name, parameter), part in zip(parameters.items(), parts, strict=True)
    }
