"""CompleteP: its factors in the weights against a model that has them, what a checkpoint is, and coordinate checks."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from thresher.artifacts import build
from thresher.errors import InputError
from thresher.proxies.models import completep
from thresher.proxies.models.completep import BASE_DEPTH, BASE_WIDTH, Scale
from thresher.proxies.models.ladder import FAMILIES, Shape
from thresher.proxies.models.spec import build_model, model_spec, model_width, origin_of
from thresher.proxies.models.weights import open_model, save_model
from thresher.proxies.settings import ModelSettings
from thresher.proxies.training.chosen import spec_of
from thresher.proxies.training.config import TrainConfig

VOCAB_SIZE, LENGTH = 97, 16
CONFIG = TrainConfig.for_language(learning_rate=4e-3, clip=None, weight_decay=0.1)


def config_of(family: str, width: int, depth: int) -> dict:
    common = {"model_type": family, "vocab_size": VOCAB_SIZE, "tie_word_embeddings": True, "use_cache": False}
    common |= {"bos_token_id": None, "eos_token_id": None}
    heads = Shape(width).heads
    if family == "gpt2":
        dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        return common | {"n_embd": width, "n_layer": depth, "n_head": heads, "n_positions": LENGTH} | dropout
    sizes = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
    return common | sizes | {"intermediate_size": 4 * width, "max_position_embeddings": LENGTH}


def spec_with(family: str, width: int, depth: int, parametrization: str = "completep") -> dict:
    return {
        "name": "own",
        "source": "ladder",
        "task": "language",
        "vocab_size": VOCAB_SIZE,
        "sequence_length": LENGTH,
        "config": config_of(family, width, depth),
        "parametrization": parametrization,
    }


def batches(count: int) -> torch.Tensor:
    """Text of a kind: each token tells much of the next."""
    draw = torch.Generator().manual_seed(0)
    steps = torch.randint(1, 4, (count, 8, LENGTH), generator=draw)
    return steps.cumsum(dim=2) % VOCAB_SIZE


def loss_of(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=tokens).logits[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


class Factored(nn.Module):
    """GPT-2 in which CompleteP's factors are written out, over the numbers u = v / s of a model that has them inside.

    Its groups are those of the paper's table: rate of hidden matrices 1/w, eps 1/(w d) in the branches, 1/w outside.
    """

    def __init__(self, model: nn.Module, width: int, depth: int):
        super().__init__()
        self.model, self.w, self.d = model, width / BASE_WIDTH, depth / BASE_DEPTH
        self.factor = {name: self._factor(name) for name, _ in model.named_parameters()}
        self.u = nn.ParameterDict(
            {
                name.replace(".", "/"): nn.Parameter(p.detach() / self.factor[name])
                for name, p in model.named_parameters()
            }
        )

    def _factor(self, name: str) -> float:
        return 1 / self.w if "ln_f" in name else 1 / self.d if "c_proj" in name else 1.0

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: self.factor[name] * self.u[name.replace(".", "/")] for name in self.factor}

    def loss(self, tokens: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(self.model, self.weights(), (), {"input_ids": tokens}).logits[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    def adamw(self, rate: float, decay: float, eps: float) -> torch.optim.Optimizer:
        groups = []
        for name, factor in self.factor.items():
            is_matrix, is_inside = self.u[name.replace(".", "/")].ndim >= 2, ".h." in name
            times = 1 / self.w if is_inside and is_matrix else 1.0
            own = {"params": [self.u[name.replace(".", "/")]], "lr": rate * times}
            own["eps"] = eps / self.w / (self.d if is_inside else 1.0)
            groups.append(own | {"weight_decay": decay / times if is_matrix else 0.0})
            assert factor > 0
        return torch.optim.AdamW(groups, betas=CONFIG.betas)


def train_alike(model, optimizer, factored: Factored, reference, *, steps: int) -> None:
    """Take the same steps of both, and find the same weights."""
    for tokens in batches(steps):
        for loss, own in ((loss_of(model, tokens), optimizer), (factored.loss(tokens), reference)):
            own.zero_grad()
            loss.backward()
            own.step()
    for name, expected in factored.weights().items():
        torch.testing.assert_close(model.get_parameter(name), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("width", "depth"), [(32, 3), (96, 5)])
def test_adamws_steps_are_those_of_a_model_with_the_factors_written_out(width, depth):
    model = build_model(spec_with("gpt2", width, depth), 1).double()
    config = replace(CONFIG, eps=1e-4)  # large enough to matter
    optimizer = config.make_optimizer(model, 4e-3)
    factored = Factored(build_model(spec_with("gpt2", width, depth), 1).double(), width, depth)
    reference = factored.adamw(4e-3, config.weight_decay, config.eps)
    train_alike(model, optimizer, factored, reference, steps=6)


def test_sgds_steps_are_those_of_adamws_table_divided_by_the_size_of_a_gradient():
    width, depth, rate = 128, 6, 0.05
    model = build_model(spec_with("gpt2", width, depth), 1).double()
    config = replace(CONFIG, optimizer="sgd", momentum=0.5)
    optimizer = config.make_optimizer(model, rate)
    factored = Factored(build_model(spec_with("gpt2", width, depth), 1).double(), width, depth)
    w, d, groups = factored.w, factored.d, []
    for name in factored.factor:
        own, is_inside = factored.u[name.replace(".", "/")], ".h." in name
        times = (d if own.ndim >= 2 else w * d) if is_inside else w
        decay = config.weight_decay if own.ndim >= 2 else 0.0
        groups.append({"params": [own], "lr": rate * times, "weight_decay": decay / times})
    reference = torch.optim.SGD(groups, momentum=0.5)
    train_alike(model, optimizer, factored, reference, steps=4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_has_its_place_in_the_table(family):
    w, d = 4, 3
    model = build_model(spec_with(family, w * BASE_WIDTH, d * BASE_DEPTH), 0)
    scales = model.scales
    assert set(scales) == {name for name, _ in model.named_parameters()}
    kinds = {name: scale for name, scale in scales.items() if "layers.1." in name or "h.1." in name}
    ends = [name for name in kinds if name.rsplit(".", 2)[-2] in completep.BRANCH_ENDS]
    assert len({name.rsplit(".", 1)[0] for name in ends}) == 2  # of attention and of the perceptron
    for name, scale in kinds.items():
        matrix, end = model.get_parameter(name).ndim >= 2, name in ends
        expected = Scale((1 / w if matrix else 1.0) / (d if end else 1), 1 / (w if end else w * d))
        assert scale == pytest.approx(expected), name
    outside = {name: scale for name, scale in scales.items() if ".layers." not in name and ".h." not in name}
    embeddings = [name for name in outside if model.get_parameter(name).ndim == 2]
    assert all(outside[name] == Scale(1.0, 1 / w) for name in embeddings) and embeddings
    norms = [name for name in outside if name not in embeddings]
    assert all(outside[name] == Scale(1 / w, 1.0) for name in norms) and norms


@pytest.mark.parametrize("family", FAMILIES)
def test_initial_values_have_the_sizes_of_the_table(family):
    w, d = 3, 2
    model = build_model(spec_with(family, w * BASE_WIDTH, d * BASE_DEPTH), 0)
    for name, parameter in model.named_parameters():
        end = name.rsplit(".", 2)[-2] in completep.BRANCH_ENDS
        if parameter.ndim >= 2 and completep._in_layer(name):
            sigma = completep.SIGMA / w**0.5 / (d if end else 1)
            assert float(parameter.detach().std()) == pytest.approx(sigma, rel=0.05), name
        elif name.endswith("weight") and parameter.ndim == 1:
            gain = 1.0 if completep._in_layer(name) else 1 / w
            assert torch.equal(parameter, torch.full_like(parameter, gain)), name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_is_one_of_transformers_and_needs_no_code_of_ours(family, tmp_path):
    spec = spec_with(family, 2 * BASE_WIDTH, 3)
    model = build_model(spec, 5)
    optimizer = CONFIG.make_optimizer(model, 4e-3)
    loss_of(model, batches(1)[0]).backward()
    optimizer.step()

    def write(draft):
        save_model(model, spec, draft)
        return {}

    build(tmp_path / "model", kind="model", config={}, seed=0, inputs={}, write=write)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        expected = model.eval()(input_ids=batches(1)[0]).logits
        assert torch.equal(plain(input_ids=batches(1)[0]).logits, expected)
        assert torch.equal(open_model(tmp_path / "model")(input_ids=batches(1)[0]).logits, expected)


def moves(width: int, depth: int, parametrization: str, steps: int = 4) -> dict[str, float]:
    """How far training moves the residual stream's end and the logits, root mean square, from the same batches."""
    model = build_model(spec_with("gpt2", width, depth, parametrization), 3)
    sizes = {}

    def measure() -> dict[str, torch.Tensor]:
        seen = {}
        hook = model.transformer.ln_f.register_forward_pre_hook(lambda _, inputs: seen.update(stream=inputs[0]))
        with torch.no_grad():
            seen["logits"] = model(input_ids=batches(8)[-1]).logits
        hook.remove()
        return seen

    before = measure()
    optimizer = CONFIG.make_optimizer(model, 4e-3)
    for tokens in batches(steps):
        optimizer.zero_grad()
        loss_of(model, tokens).backward()
        optimizer.step()
    for name, after in measure().items():
        sizes[name] = float((after - before[name]).square().mean().sqrt())
    return sizes


def spread(values: list[float]) -> float:
    return max(values) / min(values)


def test_coordinates_move_alike_at_every_width_and_would_not_in_the_standard_parametrization():
    ours = [moves(width, 2, "completep") for width in (64, 128, 256)]
    plain = [moves(width, 2, "standard") for width in (64, 128, 256)]
    for name in ("stream", "logits"):
        assert spread([move[name] for move in ours]) < 1.5, (name, ours)
    assert spread([move["logits"] for move in plain]) > 2.0


def test_coordinates_move_alike_at_every_depth_and_would_not_in_the_standard_parametrization():
    ours = [moves(64, depth, "completep") for depth in (2, 4, 8, 16)]
    plain = [moves(64, depth, "standard") for depth in (2, 4, 8, 16)]
    for name in ("stream", "logits"):
        assert spread([move[name] for move in ours]) < 1.5, (name, ours)
    assert spread([move["stream"] for move in plain]) > 2.0


def test_the_word_is_in_a_specification_only_where_it_says_something(text):
    plain = spec_of(ModelSettings(size="60k", parametrization="standard"), text)
    ours = spec_of(ModelSettings(size="60k", parametrization="completep"), text)
    assert "parametrization" not in plain and ours == plain | {"parametrization": "completep"}
    assert not hasattr(build_model(plain, 0), "scales")
    assert "parametrization" not in ModelSettings(size="60k").record
    assert CONFIG.peak_rate(ours) == CONFIG.learning_rate
    assert (origin_of(ours), model_width(ours)) == ("ladder", model_width(plain))


def test_a_parametrization_of_what_is_no_ladder_is_refused(digits):
    with pytest.raises(InputError, match=r"'standard' is of the ladder's models.*leave it out for 'mlp-8x1'"):
        model_spec("mlp-8x1", digits, parametrization="standard")
