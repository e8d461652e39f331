"""Checkpoints are loaded whatever wrapped the model that they were saved from."""

import pytest
import torch
from torch import nn

from thresher.api.weights import load_into
from thresher.errors import InputError


class Holder(nn.Module):
    """A model that calls its one part `module`, as wrappers do."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(3, 2)


@pytest.mark.parametrize("make", [lambda: nn.Linear(3, 2), Holder, lambda: nn.Sequential(Holder())])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_what_wrappers_put_before_names_is_taken_off_and_no_more(make, prefix):
    saved, model = make(), make()
    load_into(model, {f"{prefix}{name}": value for name, value in saved.state_dict().items()}, "checkpoint 0")
    assert all(map(torch.equal, model.state_dict().values(), saved.state_dict().values()))


def test_names_that_fit_in_no_way_are_refused():
    state = {f"module.other.{name}": value for name, value in nn.Linear(3, 2).state_dict().items()}
    with pytest.raises(InputError, match="checkpoint 0 does not fit the model"):
        load_into(nn.Linear(3, 2), state, "checkpoint 0")
