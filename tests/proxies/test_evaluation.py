"""What evaluation and the cost model say of models, against numbers worked out by hand or published."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.proxies.costs import attribution_flops, forward_flops, training_flops
from thresher.proxies.evaluation import evaluate
from thresher.proxies.models.spec import build_model, model_spec


def test_evaluation_does_not_depend_on_batch_size_or_order(text):
    model = build_model(model_spec("60k", text), 1)
    everything = evaluate(model, text, batch_size=1)
    indices = np.random.default_rng(0).permutation(len(text))[:101]
    for size in (7, None):
        some = evaluate(model, text, indices=indices, batch_size=size)
        for name, values in some.items():
            np.testing.assert_allclose(values, everything[name][indices], rtol=2e-4, atol=2e-5)
    assert model.training


def test_the_loss_is_the_mean_over_predicted_tokens(text):
    model = build_model(model_spec("60k", text), 1).eval()
    result = evaluate(model, text, indices=np.array([7, 3]))
    for row, index in enumerate((7, 3)):
        batch = text.batch([index])
        with torch.no_grad(), full_float32():
            logits = model(input_ids=batch["input_ids"]).logits
        expected = F.cross_entropy(logits[0, :-1], batch["labels"][0, 1:])
        assert result["loss"][row] == pytest.approx(expected.item(), rel=1e-5)


def test_batch_norm_is_evaluated_with_its_running_statistics_and_left_alone(digits):
    model = build_model(model_spec("rn-1/64", digits), 1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    alone = evaluate(model, digits, indices=np.array([4]))
    among = evaluate(model, digits, indices=np.arange(50))
    assert alone["margin"][0] == pytest.approx(among["margin"][4], abs=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_batch_size_of_nothing_is_refused(digits):
    with pytest.raises(InputError, match="batch_size=0; pass 1 or more"):
        evaluate(build_model(model_spec("mlp-5x1", digits), 1), digits, batch_size=0)


def test_counted_flops_of_a_transformer_are_those_of_its_matrices(text):
    spec = model_spec("60k", text)
    width, depth, length = spec["config"]["n_embd"], spec["config"]["n_layer"], text.sequence_length
    matrices = 2 * length * (12 * width**2 * depth + width * text.vocab_size)
    attention = depth * 4 * length**2 * width
    longest = text.batch([int(text.lengths().argmax())])
    assert forward_flops(build_model(spec, 0), longest) == matrices + attention


@pytest.mark.parametrize(
    ("parameters", "total", "training_share"),
    [(125_311_488, 4.32e20, 0.0047), (355_985_408, 1.22e21, 0.0129), (760_470_528, 2.68e21, 0.0260)],
)
def test_the_cost_model_gives_the_published_totals(parameters, total, training_share):
    """In the paper n is 80e6 sequences of 2,048 tokens and training runs come to 20 tokens a parameter."""
    training = training_flops(parameters, 20 * parameters)
    attribution = attribution_flops(parameters, 2048, 80_000_000, 1000, 15_360)
    assert training + attribution == pytest.approx(total, rel=0.02)
    assert training / (training + attribution) == pytest.approx(training_share, rel=0.1)
