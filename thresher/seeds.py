"""One seed that reaches everything: each use derives its own stream from the seed and a name for the use."""

import hashlib
import random
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one use, the same in every process and version (unlike Python's `hash`)."""
    words = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "little") >> 1


def run_seed(seed: int, *names: str | int) -> int:
    """As `derive`, in 31 bits: a seed for what takes no larger one, such as a training run."""
    return derive(seed, *names) % 2**31


def numpy_rng(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for one use of a seed."""
    return np.random.default_rng(derive(seed, *names))


def torch_rng(seed: int, *names: str | int, device: str = "cpu") -> "torch.Generator":
    """A torch generator for one use of a seed; only who asks for one loads torch."""
    import torch

    return torch.Generator(device=device).manual_seed(derive(seed, *names))


def seed_everything(seed: int, *names: str | int) -> None:
    """Seed the global generators of Python, NumPy and torch, for code that draws from them."""
    import torch

    derived = derive(seed, *names)
    random.seed(derived)
    np.random.seed(derived % 2**32)
    torch.manual_seed(derived)
