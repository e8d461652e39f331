"""At which position labels [b, t] are predicted: whatever the model reads besides, in whatever order and type."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertForTokenClassification, GPT2Config, GPT2LMHeadModel

import thresher
from tests.api.cases import blobs, dense_scores, gradient_of, trained

NUM, WIDTH, WORDS, CLASSES = 8, 5, 11, 2


def drawn(high: int, *shape: int) -> torch.Tensor:
    return torch.randint(1, high, shape, generator=torch.Generator().manual_seed(3))


IDS, ONES = drawn(WORDS, NUM, WIDTH), torch.ones(NUM, WIDTH, dtype=torch.int64)
COLUMNS = {"input_ids": IDS, "attention_mask": ONES, "token_type_ids": 0 * ONES}


class Tagger(nn.Module):
    """A class for each token, which is read whatever else is given."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(WORDS, 6), nn.Linear(6, classes)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        return self.head(self.embedding(input_ids))


def rows(labels, names, columns=COLUMNS):
    return [{name: columns[name][row] for name in names} | {"labels": labels[row]} for row in range(NUM)]


def attributed(model, data):
    return thresher.attribute(model, data, data[:3], method="exact", q="none", device="cpu")


def cross_entropy(logits, labels) -> float:
    return float(F.cross_entropy(logits.flatten(0, 1), labels.flatten()))


def test_a_token_classifier_is_read_alike_with_and_without_further_inputs():
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = BertForTokenClassification(BertConfig(vocab_size=WORDS, max_position_embeddings=8, **sizes)).eval()
    few, many = (attributed(model, rows(IDS % CLASSES, names)) for names in ([*COLUMNS][:2], COLUMNS))
    own = float(model(**COLUMNS, labels=IDS % CLASSES).loss.detach())
    assert few.quality["train"]["loss"] == pytest.approx(own, rel=1e-4)
    assert many.quality["train"]["loss"] == pytest.approx(own, rel=1e-4)
    np.testing.assert_allclose(many.scores, few.scores, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("labels", ["classes", "tokens"])
def test_the_order_of_the_columns_says_nothing(labels):
    model = Tagger(CLASSES if labels == "classes" else WORDS)
    values = IDS % CLASSES if labels == "classes" else IDS
    with torch.no_grad():
        logits = model(IDS)
    expected = cross_entropy(logits, values) if labels == "classes" else cross_entropy(logits[:, :-1], values[:, 1:])
    for names in itertools.permutations([*COLUMNS][:2]):
        result = attributed(model, rows(values, names))
        assert result.quality["train"]["loss"] == pytest.approx(expected, rel=1e-4)


def test_labels_beside_frames_are_of_the_same_positions():
    frames, model = torch.randn(NUM, WIDTH, 4, generator=torch.Generator().manual_seed(1)), nn.Linear(4, CLASSES)
    labels = drawn(WORDS, NUM, WIDTH) % CLASSES
    result = attributed(model, [(frames[row], labels[row]) for row in range(NUM)])
    with torch.no_grad():
        assert result.quality["train"]["loss"] == pytest.approx(cross_entropy(model(frames), labels), rel=1e-4)
    odds = [(model(frame).log_softmax(1)[:, 1] - model(frame).log_softmax(1)[:, 0]) for frame in frames]
    means = [(one * (2 * label - 1)).mean() for one, label in zip(odds, labels, strict=True)]
    gradients = torch.stack([gradient_of(model, mean) for mean in means])
    np.testing.assert_allclose(result.scores, dense_scores(gradients, gradients[:3], 3), rtol=5e-3, atol=1e-6)


def test_a_language_model_that_is_given_embeddings_predicts_the_next_token():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=WORDS, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config).eval()
    embedded = model.transformer.wte(IDS).detach()
    columns = {"inputs_embeds": embedded, "attention_mask": ONES}
    result = attributed(model, rows(IDS, columns, columns))
    with torch.no_grad():
        expected = cross_entropy(model(IDS).logits[:, :-1], IDS[:, 1:])
    assert result.quality["train"]["loss"] == pytest.approx(expected, rel=1e-4)


def test_logits_of_other_positions_than_the_labels_are_refused():
    with pytest.raises(thresher.InputError, match=r"gives \[8, 5, 2\] for labels \[8, 4\]"):
        attributed(Tagger(), rows(IDS[:, 1:] % CLASSES, ["input_ids"]))


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32])
def test_labels_are_whole_numbers_of_any_width(kind):
    data = blobs(12, seed=1)
    points, labels = data.tensors
    model = trained(data)
    wide = list(zip(points, labels, strict=True))
    narrow = [(point, label.to(kind)) for point, label in wide]
    np.testing.assert_array_equal(attributed(model, narrow).scores, attributed(model, wide).scores)
