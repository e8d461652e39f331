"""FLOPs of a forward pass, against formulas written down by hand for every family of models."""

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import nn

from thresher.proxies.costs import forward_flops
from thresher.proxies.flops import counting_flops

WIDTH, HEADS, LAYERS, HIDDEN, VOCABULARY = 32, 4, 2, 48, 67
ROWS, LENGTH = 3, 10
SIZES = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}

CONFIGURATIONS = {
    "gpt2": {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_inner": HIDDEN},
    "opt": SIZES | {"ffn_dim": HIDDEN, "word_embed_proj_dim": WIDTH},
    "gpt_neox": SIZES | {"intermediate_size": HIDDEN},
    "llama": SIZES | {"intermediate_size": HIDDEN, "num_key_value_heads": 2},
    "qwen2": SIZES | {"intermediate_size": HIDDEN, "num_key_value_heads": 1},
}

OPT_HAS_SDPA = transformers.OPTPreTrainedModel._supports_sdpa


def tokens(rows=ROWS, length=LENGTH):
    ids = torch.arange(rows * length).view(rows, length) % VOCABULARY
    return {"input_ids": ids, "labels": ids}


def language_model(family, **options):
    config = transformers.AutoConfig.for_model(family, **CONFIGURATIONS[family])
    return transformers.AutoModelForCausalLM.from_config(config, **options)


def language_flops(family, num_tokens=ROWS * LENGTH, length=LENGTH):
    """2 a parameter of a matrix for each token, and the two products of attention."""
    shared = CONFIGURATIONS[family].get("num_key_value_heads", HEADS) / HEADS
    attention_matrices = 2 * WIDTH**2 * (1 + shared)
    feed_forward = (3 if family in ("llama", "qwen2") else 2) * WIDTH * HIDDEN
    matrices = LAYERS * (attention_matrices + feed_forward) + WIDTH * VOCABULARY
    return num_tokens * (2 * matrices + LAYERS * 4 * length * WIDTH)


@pytest.mark.parametrize("family", CONFIGURATIONS)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_flops_of_a_language_model_are_those_of_its_matrices_and_its_attention(family, attention):
    if (family, attention) == ("opt", "sdpa") and not OPT_HAS_SDPA:
        pytest.skip("this transformers has no such attention for OPT")
    model = language_model(family, attn_implementation=attention)
    assert forward_flops(model, tokens()) == language_flops(family)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_flops_do_not_depend_on_precision(family, dtype):
    assert forward_flops(language_model(family).to(dtype), tokens()) == language_flops(family)


def test_flops_grow_with_the_square_of_the_length_in_attention_alone():
    model = language_model("gpt2")
    assert forward_flops(model, tokens(1, 40)) == language_flops("gpt2", 40, 40)
    assert forward_flops(model, tokens(1, 1)) == language_flops("gpt2", 1, 1) - LAYERS * 2 * WIDTH  # one value to sum


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_a_model_as_it_was(training):
    model = language_model("gpt2").train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fastpath = torch.backends.mha.get_fastpath_enabled()
    with torch.inference_mode():
        counted = forward_flops(model, tokens())
    assert counted == language_flops("gpt2")
    assert model.training == training and torch.backends.mha.get_fastpath_enabled() == fastpath
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("rank", [1, 4])
def test_adapters_add_two_thin_matrices_to_each_layer_they_stand_beside(rank):
    peft = pytest.importorskip("peft")
    model = language_model("llama")
    peft.inject_adapter_in_model(peft.LoraConfig(r=rank, target_modules=["q_proj", "down_proj"]), model)
    added = LAYERS * rank * (WIDTH + WIDTH + HIDDEN + WIDTH)
    assert forward_flops(model, tokens()) == language_flops("llama") + ROWS * LENGTH * 2 * added


def test_only_the_experts_that_read_a_token_count():
    sizes = SIZES | {"intermediate_size": HIDDEN, "num_key_value_heads": 2}
    experts = {"num_local_experts": 6, "num_experts_per_tok": 2}
    config = transformers.AutoConfig.for_model("mixtral", **sizes, **experts)
    model = transformers.AutoModelForCausalLM.from_config(config)
    added = LAYERS * (WIDTH * 6 + 3 * WIDTH * HIDDEN)  # the router, and a second expert
    assert forward_flops(model, tokens()) == language_flops("llama") + ROWS * LENGTH * 2 * added


def images(channels=3, size=32):
    return {"pixel_values": torch.zeros(ROWS, channels, size, size), "labels": torch.zeros(ROWS, dtype=torch.int64)}


def test_flops_of_a_perceptron_are_two_a_weight():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 7), nn.ReLU(), nn.Linear(7, 10))
    assert forward_flops(model, images(size=4)) == ROWS * 2 * (48 * 7 + 7 * 10)


def test_flops_of_a_resnet_are_its_published_multiply_adds_twice():
    """The published 1.814 GMACs of ResNet-18 at 224 x 224 are torchvision's (there: `GFLOPS`, one a multiply-add)."""
    from torchvision.models import resnet18

    batch = {"pixel_values": torch.zeros(1, 3, 224, 224), "labels": torch.zeros(1, dtype=torch.int64)}
    assert forward_flops(resnet18(), batch) == pytest.approx(2 * 1.814e9, rel=1e-3)


@pytest.mark.parametrize("frozen", [False, True])
def test_flops_of_a_vision_transformer_do_not_change_where_torch_has_one_operation_for_its_layer(frozen):
    """A frozen encoder in evaluation is what `nn.MultiheadAttention` takes its fast path for."""
    from torchvision.models import VisionTransformer

    model = VisionTransformer(32, 8, LAYERS, HEADS, WIDTH, HIDDEN, num_classes=5).requires_grad_(not frozen)
    positions = (32 // 8) ** 2 + 1
    layer = 2 * positions * (4 * WIDTH**2 + 2 * WIDTH * HIDDEN) + 4 * positions**2 * WIDTH
    patches, head = 2 * 16 * 3 * 8**2 * WIDTH, 2 * WIDTH * 5
    assert forward_flops(model, images()) == ROWS * (patches + LAYERS * layer + head)


def counted(function, *inputs):
    with counting_flops() as count:
        function(*inputs)
    return count.total


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_counts_its_weights_at_each_place_of_its_output(groups):
    convolution = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups)
    assert counted(convolution, torch.zeros(5, 4, 9, 9)) == 2 * 5 * 25 * (6 * 4 // groups * 9)
    assert counted(convolution, torch.zeros(4, 9, 9)) == 2 * 25 * (6 * 4 // groups * 9)
    transposed = nn.ConvTranspose1d(4, 6, 3, stride=2, groups=groups)
    assert counted(transposed, torch.zeros(5, 4, 9)) == 2 * 5 * 9 * (4 * 6 // groups * 3)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_a_recurrent_layer_counts_its_matrices_at_every_step(kind, gates):
    layer = kind(6, 8, num_layers=2, bidirectional=True, batch_first=True)
    weights = gates * 2 * (8 * (6 + 8) + 8 * (16 + 8))
    sequences = torch.zeros(ROWS, LENGTH, 6)
    assert counted(layer, sequences) == 2 * ROWS * LENGTH * weights
    packed = nn.utils.rnn.pack_padded_sequence(sequences, torch.tensor([10, 7, 2]), batch_first=True)
    assert counted(layer, packed) == 2 * 19 * weights


def test_attention_counts_heads_of_queries_whatever_they_share():
    query, key, value = torch.zeros(2, 4, 5, 8), torch.zeros(2, 4, 7, 8), torch.zeros(2, 4, 7, 6)
    flops = 2 * 2 * 4 * 5 * 7 * (8 + 6)
    assert counted(F.scaled_dot_product_attention, query, key, value) == flops
    assert counted(lambda q, k, v: (q @ k.mT).softmax(-1) @ v, query, key, value) == flops
    assert counted(F.scaled_dot_product_attention, query, key[:1, :1], value[:1, :1]) == flops


@pytest.mark.parametrize("need_weights", [False, True])
def test_attention_between_sequences_counts_its_projections_and_all_pairs(need_weights):
    attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=5, add_bias_kv=True, batch_first=True)
    queries, keys, values = torch.zeros(ROWS, 4, 8), torch.zeros(ROWS, 9, 6), torch.zeros(ROWS, 9, 5)
    projections = 2 * (4 * 8 * 8 + 9 * 6 * 8 + 9 * 5 * 8 + 4 * 8 * 8)
    flops = ROWS * (projections + 4 * 4 * 10 * 8)  # ten positions: a learnt one beside nine
    assert counted(lambda *given: attention(*given, need_weights=need_weights), queries, keys, values) == flops


def test_products_count_alike_in_every_notation():
    left, right = torch.zeros(5, 4, 6), torch.zeros(6, 7)
    for product in (torch.matmul, F.linear, lambda a, b: torch.einsum("xij,jk->xik", a, b)):
        assert counted(product, left, right.mT if product is F.linear else right) == 2 * 20 * 6 * 7
    assert counted(torch.addmm, torch.zeros(7), left[0], right) == 2 * 4 * 6 * 7
    assert counted(torch.mv, right, torch.zeros(7)) == 2 * 6 * 7
    assert counted(torch.baddbmm, torch.zeros(5, 4, 4), left, left.mT) == 2 * 5 * 16 * 6


def test_an_outer_product_sums_nothing():
    """The angles of rotary embeddings: a product in some versions of a library, a multiplication in others."""
    frequencies, positions = torch.zeros(1, 4, 1), torch.zeros(1, 1, 9)
    assert counted(torch.matmul, frequencies, positions) == counted(torch.mul, frequencies, positions) == 0
