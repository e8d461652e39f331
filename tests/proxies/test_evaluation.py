"""What evaluation and the cost model say of models, against numbers worked out by hand or published."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from tests.data.text.tokenizers_of_each_kind import KINDS
from thresher.artifacts import build
from thresher.data.examples import open_examples
from thresher.data.text.documents import Document
from thresher.data.text.text_examples import prepare_text
from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.proxies.costs import attribution_flops, forward_flops, training_flops
from thresher.proxies.evaluation import bits_per_byte, evaluate, measures_of, read_evaluation
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


class Uniform(torch.nn.Module):
    """Finds every token as likely as any other."""

    def __init__(self, vocab_size):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(vocab_size))

    def forward(self, input_ids):
        return self.logits.expand(*input_ids.shape, -1)


def prepared(folder, kind, documents, *, length=512, pack=True):
    folder.mkdir()
    KINDS[kind]().save(str(folder / "tokenizer.json"))
    options = {"tokenizer": folder / "tokenizer.json", "sequence_length": length, "pack": pack}
    return open_examples(
        prepare_text(lambda skipped: documents, out=folder / "out", config={}, inputs={}, **options).path
    )


TEXT = "the cat sat on the mat, hello world 😀 你好 and é"


@pytest.mark.parametrize("length", [512, 8])
@pytest.mark.parametrize("kind", ["byte-level", "metaspace", "word pieces"])
def test_bits_per_byte_of_a_uniform_model_are_tokens_times_log2_of_the_vocabulary_over_bytes(tmp_path, kind, length):
    """Two tokenizers of one text differ by their tokens alone, for the text's bytes are the same on both sides."""
    examples = prepared(tmp_path / "x", kind, [Document("a", "", TEXT)], length=length)
    found = measures_of(Uniform(examples.vocab_size), examples, "cpu")["bits_per_byte"]
    windows = len(examples.windows.example)
    tokens = examples.lengths()[0] - windows
    assert windows == 1 or length == 8
    assert found[0] == pytest.approx(tokens * math.log2(examples.vocab_size) / examples.predicted_bytes[0], rel=1e-5)
    if length == 512:
        first = KINDS[kind]().encode("the", add_special_tokens=False).tokens[0]
        assert examples.predicted_bytes[0] == len(TEXT.encode()) - len(first.strip("▁"))


def test_bits_per_byte_of_continuations_are_those_of_the_harness(tmp_path):
    """Of each the harness's log-likelihood over the bytes of the continuation with its space; of all its ratio."""
    pairs = [("the cat", " sat on"), ("hello", " world, the end"), ("x=1;", " é 你好")]
    documents = [Document(str(n), "", text, prompt) for n, (prompt, text) in enumerate(pairs)]
    examples = prepared(tmp_path / "x", "byte-level", documents, pack=False)
    torch.manual_seed(0)
    model = build_model(model_spec("60k", examples), 1).eval()
    encode = KINDS["byte-level"]().encode
    items = []
    for prompt, text in pairs:
        ids, given = encode(prompt + text, add_special_tokens=False).ids, len(encode(prompt).ids)
        with torch.no_grad():
            logp = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        items.append((sum(float(logp[at - 1, ids[at]]) for at in range(given, len(ids))), len(text.encode())))
    found = measures_of(model, examples, "cpu")["bits_per_byte"]
    assert found.tolist() == pytest.approx([-ll / math.log(2) / size for ll, size in items], rel=1e-5)
    metrics = pytest.importorskip("lm_eval.api.metrics")
    weighted = np.average(found, weights=examples.predicted_bytes)
    assert weighted == pytest.approx(metrics.bits_per_byte(items), rel=1e-5)


def test_bits_per_byte_of_older_evaluations_are_worked_out_and_images_have_none(tmp_path, digits, text):
    documents = [Document("a", "", "the cat sat"), Document("b", "", "é 你好 and x")]
    examples = prepared(tmp_path / "x", "byte-level", documents)
    losses = np.array([2.0, 3.0], np.float32)
    columns = {"task": ["t", "t", "i"], "id": ["a", "b", "0"], "loss": np.append(losses, np.float32(1))}

    def write(draft):
        with draft.file("losses.parquet") as file:
            pq.write_table(pa.table(columns), file)

    old = build(tmp_path / "old", kind="evaluation", config={}, seed=0, inputs={}, write=write)
    found = read_evaluation(old, {"t": examples, "i": digits})["bits_per_byte"].to_pylist()
    assert found == [*map(pytest.approx, bits_per_byte(losses, examples)), None]
    assert found[0] == pytest.approx(2 / math.log(2) * (examples.lengths()[0] - 1) / examples.predicted_bytes[0])
    assert bits_per_byte(np.zeros(len(digits)), digits) is None and bits_per_byte(np.zeros(len(text)), text) is None
