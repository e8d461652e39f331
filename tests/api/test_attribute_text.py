"""Tokens: checkpoints of `transformers` with padding collates, and language as others write it."""

import datasets
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

import thresher
from tests.api.cases import dense_scores, gradient_of

LENGTHS = (5, 3, 6, 4, 5, 2)


def gpt2():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(config)


def texts(labels):
    draw = torch.Generator().manual_seed(3)
    ids = [torch.randint(1, 11, (length,), generator=draw).tolist() for length in LENGTHS]
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in ids]
    return [row | {"labels": labels(row["input_ids"], number)} for number, row in enumerate(rows)]


def padded(rows):
    width = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": 0, "attention_mask": 0, "labels": -100}
    return {
        key: torch.tensor([row[key] + [fill[key]] * (width - len(row[key])) for row in rows])
        if isinstance(rows[0][key], list)
        else torch.tensor([row[key] for row in rows])
        for key in rows[0]
    }


def token_margin(logits, labels):
    """The mean log odds of the labels [t] under logits [t, v] of the same positions."""
    p = logits.double().softmax(dim=-1).gather(1, labels[:, None])[:, 0]
    return (p / (1 - p)).log().mean()


def test_a_checkpoint_with_a_padding_collate_is_the_dense_formula():
    model, rows = gpt2(), texts(lambda ids, _: ids)
    result = thresher.attribute(
        model, DataLoader(rows, batch_size=4, collate_fn=padded), DataLoader(rows[:2], collate_fn=padded),
        method="exact", q="none", device="cpu",
    )  # fmt: skip
    model.eval()
    gradients = torch.stack(
        [
            gradient_of(model, token_margin(model(torch.tensor([ids])).logits[0, :-1], torch.tensor(ids[1:])))
            for ids in (row["input_ids"] for row in rows)
        ]
    )
    np.testing.assert_allclose(result.scores, dense_scores(gradients, gradients[:2], 3), rtol=5e-3, atol=1e-6)


class Pairs(nn.Module):
    """A language model that was never near `transformers`."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(7, 6), nn.Linear(6, 7)

    def forward(self, tokens):
        return self.head(self.embedding(tokens))


def test_labels_beside_tokens_that_they_do_not_repeat_are_of_the_same_positions():
    model, x = Pairs(), torch.randint(7, (5, 4), generator=torch.Generator().manual_seed(0))
    y = (x + 1) % 7
    data = [(x[row], y[row]) for row in range(5)]
    result = thresher.attribute(model, data, data, method="exact", q="none", device="cpu")
    gradients = torch.stack([gradient_of(model, token_margin(model(a), b)) for a, b in data])
    np.testing.assert_allclose(result.scores, dense_scores(gradients, gradients, 3), rtol=5e-3, atol=1e-6)
    expected = F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item()
    assert result.quality["train"]["loss"] == pytest.approx(expected, rel=1e-4)


def bert():
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return BertForSequenceClassification(BertConfig(vocab_size=11, max_position_embeddings=8, num_labels=2, **sizes))


def test_a_classifier_of_texts_with_and_without_a_further_input():
    rows = texts(lambda ids, number: number % 2)
    further = [row | {"token_type_ids": [0] * len(row["input_ids"])} for row in rows]

    def padded_further(some):
        batch = padded([{key: row[key] for key in ("input_ids", "attention_mask", "labels")} for row in some])
        return batch | {"token_type_ids": torch.zeros_like(batch["input_ids"])}

    model, options = bert(), {"method": "exact", "device": "cpu", "parameters": "classifier|pooler"}
    plain = thresher.attribute(
        model, DataLoader(rows, 4, collate_fn=padded), DataLoader(rows, collate_fn=padded), **options
    )
    other = DataLoader(further, 4, collate_fn=padded_further)
    several = thresher.attribute(model, other, other, **options)
    np.testing.assert_allclose(plain.scores, several.scores, rtol=1e-2, atol=1e-6)


def test_a_table_of_datasets_is_read_as_it_is():
    rows = texts(lambda ids, _: ids)
    table = datasets.Dataset.from_list([{k: v[:2] for k, v in row.items()} | {"name": "a"} for row in rows])
    result = thresher.attribute(gpt2(), table, table.select([1]), device="cpu")
    assert result.scores.shape == (6, 1) and result.scores.argmax() == 1
    assert len(table.select(result.select(2))) == 2
    assert result.top(test=0, k=1)["row"][0]["name"] == "a"
