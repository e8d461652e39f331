"""How a training follows from what was asked: the dial of tokens a parameter, and sizes that are one model."""

import numpy as np
import pytest

from thresher.errors import InputError
from thresher.proxies.models.spec import build_model, model_spec, num_parameters, size_of
from thresher.proxies.planned import cost_of
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trainable import check_distinct
from thresher.proxies.training.chosen import config_for, spec_of, train_config_of
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.order import Order
from thresher.proxies.trials import Trial, check_names


@pytest.mark.parametrize("size", ["60k", "llama:60k", "gpt_neox:60k"])
def test_a_size_is_counted_without_the_model(size, text):
    assert size_of(model_spec(size, text)) == num_parameters(build_model(model_spec(size, text), 0))


def test_tokens_a_parameter_are_what_a_training_sees_to_the_token(text):
    settings = ModelSettings(size="60k", tokens_per_parameter=0.9)
    spec = spec_of(settings, text)
    config, total = train_config_of(settings, spec, text), size_of(spec)["total"]
    assert config.num_tokens == round(0.9 * total)
    order = Order(text, np.arange(60), None, config, seed=0)
    assert order.num_units == config.num_tokens
    assert config.num_tokens > 3 * order.budget  # over several passes
    assert order.passes()["all"] == pytest.approx(config.num_tokens / order.budget)
    seen = sum(int((order.batch(step).owners >= 0).sum()) for step in range(order.num_steps))
    assert seen == config.num_tokens
    assert cost_of(spec, config, text, "cpu").num_tokens == config.num_tokens


def test_the_dial_is_in_a_request_only_where_it_is_turned():
    assert "num_tokens" not in TrainConfig().record and "tokens_per_parameter" not in ModelSettings(size="1M").record
    assert TrainConfig(num_tokens=7).record["num_tokens"] == 7
    assert TrainConfig.of_record(TrainConfig(num_tokens=7).record) == TrainConfig(num_tokens=7)


def test_two_lengths_and_tokens_of_images_are_refused(text, digits):
    twice = ModelSettings(size="60k", tokens_per_parameter=20, epochs=2)
    with pytest.raises(InputError, match="tokens_per_parameter=20 and epochs=2 both say how long"):
        train_config_of(twice, spec_of(twice, text), text)
    images = ModelSettings(size="mlp-8x1", tokens_per_parameter=20)
    with pytest.raises(InputError, match="is of text, and 'mlp-8x1' reads images"):
        train_config_of(images, spec_of(images, digits), digits)
    none = ModelSettings(size="60k", tokens_per_parameter=-1)
    with pytest.raises(InputError, match="tokens_per_parameter=-1; pass a number above 0"):
        train_config_of(none, spec_of(none, text), text)


def test_two_names_of_one_model_are_refused_where_they_would_be_compared(text, digits):
    def sides(*sizes, **settings):
        return [ModelSettings(size=size, **settings) for size in sizes]

    with pytest.raises(InputError, match=r"'60k' and '62k' are one model here, of [\d,]+ parameters"):
        check_distinct(text, sides("20k", "60k", "62k", epochs=2.0))
    with pytest.raises(InputError, match="'mlp-8x1' and 'mlp-08x1' are one model"):
        check_distinct(digits, sides("mlp-8x1", "mlp-08x1"))
    check_distinct(text, [*sides("60k", "0.2M", "llama:60k"), *sides("62k", learning_rate=1e-3)])
    check_distinct(text, sides("60k", "60k"))  # one name, which whoever asks knows


@pytest.mark.parametrize(
    ("size", "wanted", "message"),
    [
        ("60k", {"momentum": 0.1}, "momentum=0.1 is of sgd, and this is adamw"),
        ("mlp-8x1", {"eps": 1e-6}, "eps=1e-06 is of adamw, and this is sgd"),
        ("60k", {"steps": 2, "epochs": 50.0}, "epochs=50.0 and steps=2 both say how long training is"),
        ("60k", {"num_tokens": 20, "steps": 2}, "steps=2 and num_tokens=20 both say"),
    ],
)
def test_settings_that_would_say_nothing_are_refused(text, digits, size, wanted, message):
    pool = digits if size.startswith("mlp") else text
    with pytest.raises(InputError, match=message):
        config_for(model_spec(size, pool), pool, **wanted)
    assert config_for(model_spec("mlp-8x1", digits), digits, momentum=0.5).momentum == 0.5


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", 2.5, "steps=2.5 in the config; pass a whole number"),
        ("accumulate", True, "accumulate=True in the config; pass a whole number"),
        ("batch_size", 2.0, "batch_size=2.0 in the config; pass a whole number"),
        ("epochs", "2", "epochs='2' in the config; pass a number"),
        ("clip", False, "clip=False in the config; pass a number"),
        ("betas", (0.9, "0.95"), "betas='0.95' in the config; pass a number"),
        ("betas", (0.9,), r"betas=\(0.9,\) in the config; pass two numbers"),
    ],
)
def test_what_is_no_number_of_its_kind_is_refused(name, value, message):
    config = TrainConfig(steps=3)
    object.__setattr__(config, name, value)  # past the types, which are checked in tests alone
    with pytest.raises(InputError, match=message):
        config.__post_init__()
    object.__setattr__(config, name, np.int64(3) if name in ("steps", "batch_size") else getattr(TrainConfig(), name))
    config.__post_init__()


def test_only_models_of_the_ladder_have_its_rates(digits):
    rates = [TrainConfig.for_vision(optimizer="adamw").peak_rate(model_spec(f"mlp-{w}x2", digits)) for w in (8, 512)]
    assert rates == [1e-3, 1e-3]


def test_training_sets_that_files_cannot_tell_apart_are_refused():
    trials = [Trial(name, 0, 0, np.arange(3)) for name in ("top 10", "random", "top-10")]
    check_names(trials[:2] * 2)
    with pytest.raises(InputError, match="'top 10' and 'top-10' are both 'top-10-0' in files; rename one"):
        check_names(trials)
