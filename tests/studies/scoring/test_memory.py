"""Memory said before scoring grows with what is held, and with nothing else."""

import pytest
from torch import nn

from thresher.memory import Held, of_process, resident
from thresher.scorers import SCORERS, Work
from thresher.studies.scoring.basis import Attribution
from thresher.studies.scoring.memory import HELD, READ, memory_of

MODEL = nn.Sequential(nn.Linear(100, 50), nn.Linear(50, 10))
NUMBERS = 100 * 50 + 50 + 50 * 10 + 10


def said(name, k=512, held=1e6, positions=1.0, steps=0, settings=Attribution(), **work):  # noqa: B008
    return memory_of(
        name, Work(num_examples=1000, **work), settings, MODEL, held, k=k, positions=positions, steps=steps
    )


@pytest.mark.parametrize("name", [name for name in SCORERS if SCORERS[name].passes])
def test_every_scorer_holds_the_model_and_a_batch(name):
    assert said(name) >= 8 * NUMBERS + READ * 1e6 + HELD
    assert said(name, held=2e6) - said(name) == pytest.approx(READ * 1e6)


def test_kernels_are_of_k_numbers_and_pairs_of_examples():
    assert said("trak", k=1024) - said("trak", k=512) == pytest.approx(5 * 8 * (1024**2 - 512**2))
    assert said("grad-cosine", k=1024) == said("grad-cosine", k=512)
    longer = said("dual", positions=11.0) - said("dual", positions=1.0)
    assert longer == pytest.approx(1000 * 4 * 10 * (150 + 60 + 51 + 11))
    bounded = Attribution(memory_gb=0.001)
    assert said("dual", settings=bounded, positions=100.0) == said("dual", settings=bounded, positions=1.0)


def test_directions_are_a_target_each_and_states_of_a_training_its_root():
    assert said("ekfac", num_targets=3) > said("ekfac", num_targets=1)
    assert said("metagradient", steps=400) - said("metagradient", steps=100) == pytest.approx(10 * 12 * NUMBERS)
    window = said("metagradient", steps=400, settings=Attribution(window=100))
    assert window == said("metagradient", steps=100)


def test_what_a_process_has_is_more_than_nothing_and_what_is_kept_is_counted_once():
    import torch

    assert 1e7 < resident() < of_process()
    held, x = Held(), torch.ones(10, 10, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(held.keep, lambda tensor: tensor):
        (x * x).sum()
    assert held.bytes == 400
