"""What is another thing has another identity, however it differs; what is the same has the same."""

import copy
import dataclasses
import functools
import pickle
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from thresher.attribution.identity import Opaque, identity_of, identity_of_module, identity_of_part

SCALE = torch.ones(2)


def weighted(output, batch, weight=1.0):
    return weight * F.cross_entropy(output, batch, reduction="none")


def closed(weight):
    return lambda output, batch: weight * F.cross_entropy(output, batch, reduction="none")


class Weighted:
    def __init__(self, weight) -> None:
        self.weight = weight

    def __call__(self, output, batch):
        return self.weight * F.cross_entropy(output, batch, reduction="none")

    def method(self, output, batch):
        return self(output, batch)


class Listed:
    """Told apart by what stands in the class alone."""

    weights = [1.0, 2.0]  # noqa: RUF012

    def __call__(self, output, batch):
        return self.weights[0] * output


@dataclasses.dataclass
class Described:
    weight: float

    def __call__(self, output, batch):
        return self.weight * output


class Slotted:
    __slots__ = ("weight",)

    def __init__(self, weight) -> None:
        self.weight = weight

    def __call__(self, output, batch):
        return self.weight * output


def scaled(output, batch):
    return helper(output) * batch


def helper(output):
    return output * SCALE


def marked(weight):
    def loss(output, batch):
        return loss.weight * output

    loss.weight = weight
    return loss


MAKERS = {
    "partial": lambda weight: functools.partial(weighted, weight=weight),
    "positional": lambda weight: functools.partial(weighted, torch.ones(2), weight),
    "closure": closed,
    "object": Weighted,
    "slots": Slotted,
    "dataclass": Described,
    "class": lambda weight: type("Named", (Listed,), {"weights": [weight]})(),
    "compiled": lambda weight: torch.compile(closed(weight)),
    "attribute": lambda weight: marked(weight),
    "method": lambda weight: Weighted(weight).method,
    "nested": lambda weight: functools.partial(Weighted({"a": [weight]}), 1),
    "array": lambda weight: Weighted(np.full(5000, weight)),
    "objects": lambda weight: Weighted(np.array([1, weight], dtype=object)),
    "tensor": lambda weight: closed(torch.full((3,), weight)),
    "module": lambda weight: Weighted(nn.CrossEntropyLoss(label_smoothing=weight / 10)),
    "cached": lambda weight: functools.lru_cache(closed(weight)),
    "set": lambda weight: Weighted({"a", weight}),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_functions_that_are_made_with_other_values_are_others(kind):
    one, same, other = (identity_of(MAKERS[kind](weight), "loss") for weight in (1.0, 1.0, 9.0))
    assert one == same != other


def test_one_number_in_the_middle_of_a_long_array_counts():
    long = np.zeros(5000)
    other = long.copy()
    other[2500] = 1
    assert identity_of([long], "batch") != identity_of([other], "batch")
    assert identity_of(long, "batch") != identity_of(long.astype(np.float32), "batch")
    assert identity_of(long, "batch") != identity_of(long.reshape(2, -1), "batch")


def test_a_global_that_a_helper_reads_counts(monkeypatch):
    before = identity_of(scaled, "loss")
    assert identity_of(scaled, "loss") == before
    monkeypatch.setitem(globals(), "SCALE", torch.full((2,), 3.0))
    assert identity_of(scaled, "loss") != before


def test_names_of_functions_within_a_function_count():
    two = (lambda output, batch: F.cross_entropy(output, batch), lambda output, batch: F.nll_loss(output, batch))
    assert len({identity_of(one, "loss") for one in two}) == 2


def test_what_is_within_itself_is_read_to_its_end():
    loop = [1]
    loop.append(loop)
    longer = [2]
    longer.append(longer)
    assert identity_of(loop, "batch") != identity_of(longer, "batch")


def test_what_has_no_content_is_named():
    with pytest.raises(Opaque, match=r"weight in loss is a lock|loss.* is a lock"):
        identity_of(closed(threading.Lock()), "loss")
    assert identity_of(closed(threading.Lock()), "loss", strict=False)


class Net(nn.Module):
    def __init__(self, act=F.relu, scale=1.0, buffer=1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.act, self._scale = nn.Linear(4, 3), nn.Linear(3, 2), act, scale
        self.register_buffer("buffer", torch.full((4,), buffer), persistent=False)

    def forward(self, x):
        return self._scale * self.second(self.act(self.first(x * self.buffer)))


class Other(Net):
    def forward(self, x):
        return self._scale * self.second(self.act(self.first(x))) + 1


def frozen() -> Net:
    net = Net()
    net.first.requires_grad_(False)
    return net


def hooked() -> Net:
    net = Net()
    net.first.register_forward_hook(lambda module, args, output: 2 * output)
    return net


def test_modules_of_the_same_weights_are_others_where_they_use_them_otherwise():
    others = [
        Net(), Net(torch.sin), Net(lambda x: x), Net(functools.partial(F.leaky_relu, negative_slope=0.1)),
        Net(functools.partial(F.leaky_relu, negative_slope=0.2)), Net(scale=2.0), Net(buffer=2.0), Other(), frozen(),
        hooked(), nn.Sequential(Net()), nn.Sequential(Net(), nn.Dropout(0.1)), nn.Sequential(Net(), nn.Dropout(0.2)),
        Net(nn.ReLU()), Net(nn.LeakyReLU(0.3)), Net(nn.LeakyReLU(0.4)),
    ]  # fmt: skip
    assert len({identity_of_module(one) for one in others}) == len(others)


def test_copies_of_a_module_are_the_same_in_whatever_mode():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.MultiheadAttention(4, 2), Net())
    loaded = pickle.loads(pickle.dumps(model))
    for one in (copy.deepcopy(model), loaded, model.eval()):
        assert identity_of_module(one) == identity_of_module(model)
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] += 1
    assert identity_of_module(model) != identity_of_module(loaded)


def test_a_checkpoint_is_the_same_wherever_it_lies(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    ends = {"bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2, **ends))
    for name in ("first", "second"):
        model.save_pretrained(tmp_path / name)
    loaded = [GPT2LMHeadModel.from_pretrained(tmp_path / name) for name in ("first", "second")]
    assert len({identity_of_module(one) for one in (model, *loaded)}) == 1
    model.config.scale_attn_by_inverse_layer_idx = True
    assert identity_of_module(model) != identity_of_module(loaded[0])


def test_a_part_is_its_code_and_its_simple_attributes():
    assert identity_of_part(Weighted(1)) == identity_of_part(Weighted(1)) != identity_of_part(Weighted(2))
    assert identity_of_part(Weighted(1)) != identity_of_part(Slotted(1))
    assert identity_of_part(Weighted(threading.Lock())) == identity_of_part(Weighted(threading.Lock()))
