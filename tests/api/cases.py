"""Small models and data of known structure, trained in a blink."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset


def blobs(num: int, *, seed: int) -> TensorDataset:
    """Points of three classes around three corners, well apart."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % 3
    return TensorDataset(4 * torch.eye(3, 5)[labels] + torch.randn(num, 5, generator=generator), labels)


def trained(data: TensorDataset, *, seed: int = 0, steps: int = 60, width: int = 8) -> nn.Module:
    """A small perceptron that has learnt most of `data`."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 3))
    optimizer, (points, labels) = torch.optim.Adam(model.parameters(), 0.02), data.tensors
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(points), labels).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model


def gradient_of(model: nn.Module, value: Tensor) -> Tensor:
    """One row: the gradient of a number in all parameters, by autograd alone."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))])


def margin(logits: Tensor, label: int) -> Tensor:
    """log p / (1 - p) of one example, from its definition."""
    probability = logits.double().softmax(dim=-1)[label]
    return (probability / (1 - probability)).log()


def dense_scores(gradients: Tensor, target_gradients: Tensor, damping: float) -> Tensor:
    """G (G^T G + lambda I)^{-1} g_t, lambda = damping * mean |g_i|^2, with nothing clever."""
    rows, targets = gradients.double(), target_gradients.double()
    scale = damping * rows.square().sum(dim=1).mean()
    kernel = rows.T @ rows + scale * torch.eye(rows.shape[1], dtype=torch.float64)
    return rows @ torch.linalg.solve(kernel, targets.T)
