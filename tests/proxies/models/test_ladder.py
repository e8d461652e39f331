"""The ladder: sizes asked for and got, the families, and the learning rate that follows the width."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from thresher.errors import InputError
from thresher.proxies.models.ladder import FAMILIES, Shape, language_config, nearest_shape, parse_size, rungs
from thresher.proxies.models.spec import num_parameters


@pytest.mark.parametrize(
    ("text", "parameters"),
    [("0.4M", 400_000), ("400k", 400_000), (".5m", 500_000), ("1.3B", 1_300_000_000), ("77", 77)],
)
def test_a_size_is_a_number_with_a_suffix(text, parameters):
    assert parse_size(text) == parameters


@pytest.mark.parametrize("text", ["", "M", "-1M", "0", "1e6", "1.6T", "0.4 M M"])
def test_a_size_that_is_no_number_is_refused_in_one_line(text):
    with pytest.raises(InputError, match=r"size .* write it as 400k, 0.4M or 1.3B") as caught:
        parse_size(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", ["0.4M", "1.6M", "30M"])
def test_the_closed_form_counts_what_the_model_has(family, size):
    config = language_config(size, vocab_size=4096, sequence_length=120, family=family)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    shape = nearest_shape(size, vocab_size=4096, sequence_length=120, family=family)
    assert num_parameters(model) == shape.num_parameters(family, 4096, 120)
    assert abs(num_parameters(model)["total"] / parse_size(size) - 1) < 0.12


def test_the_sizes_the_project_talks_about_have_the_shapes_it_says():
    shapes = [nearest_shape(size, vocab_size=4096, sequence_length=128) for size in ("0.4M", "1.6M")]
    assert [(shape.width, shape.depth) for shape in shapes] == [(64, 2), (144, 4)]
    assert [(Shape(width).depth, Shape(width).heads) for width in (384, 768, 1536)] == [(12, 12), (12, 12), (24, 24)]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_ladder_only_climbs(family):
    shapes = list(rungs())
    for key in ("total", "non_embedding"):
        counts = [shape.num_parameters(family, 4096, 128)[key] for shape in shapes]
        assert counts == sorted(set(counts))
    assert all(shape.width % shape.heads == 0 for shape in shapes)
    sizes = [200_000 * 1.4**step for step in range(30)]
    widths = [
        nearest_shape(f"{round(size)}", vocab_size=4096, sequence_length=128, family=family).width for size in sizes
    ]
    assert widths == sorted(widths)


def test_a_size_that_the_vocabulary_alone_exceeds_is_refused():
    with pytest.raises(InputError, match=r"vocabulary of 50,000 the nearest model has .* pass a larger size"):
        language_config("0.4M", vocab_size=50_000, sequence_length=128)
    with pytest.raises(InputError, match="pass a smaller size"):
        language_config("90000B", vocab_size=4096, sequence_length=128)


def test_an_unknown_family_is_refused():
    with pytest.raises(InputError, match="'rwkv' is unknown; pass one of: gpt2, llama, gpt_neox"):
        language_config("0.4M", vocab_size=4096, sequence_length=128, family="rwkv")
