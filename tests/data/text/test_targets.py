"""Targets: multiple choice, labelled text, and what stays on one side of a split."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from thresher.data.examples import open_examples
from thresher.data.sources.skipped import Skipped
from thresher.data.sources.source import Source
from thresher.data.splits import part_of
from thresher.data.text.columns import TextColumns
from thresher.data.text.documents import Document, read_documents
from thresher.data.text.text_examples import prepare_text
from thresher.data.text.tokenizer import open_tokenizer, train_tokenizer
from thresher.errors import InputError
from thresher.outputs import outputs_of
from thresher.proxies import build_model, evaluate, evaluate_choices, model_spec

QUESTIONS = [
    {"q": "what floats?", "choices": ["a stone", "the boat", "an anvil"], "gold": 1},
    {"q": "what is eaten?", "choices": ["soup", "rope"], "gold": 0},
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory, corpus):
    texts = (json.loads(line)["text"] for line in corpus.read_text().splitlines())
    return train_tokenizer(texts, vocab_size=300, out=tmp_path_factory.mktemp("t") / "tokenizer", inputs={}).path


def source_of(tmp_path, rows, **options):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source((str(tmp_path / "rows.jsonl"),), **options)


def prepare(tmp_path, tokenizer, documents, *, length=32, out="target"):
    made = prepare_text(
        lambda skipped: documents,
        out=tmp_path / out,
        tokenizer=tokenizer,
        sequence_length=length,
        pack=False,
        choices=True,
        config={},
        inputs={},
    )
    return open_examples(made.path)


MULTIPLE = TextColumns(prompt="q", choices="choices", gold="gold")


def test_examples_are_the_right_choices_and_all_of_them_lie_beside(tmp_path, tokenizer):
    examples = prepare(tmp_path, tokenizer, read_documents(source_of(tmp_path, QUESTIONS), MULTIPLE))
    choices = examples.choices
    assert [examples.preview(0), examples.preview(1)] == ["what floats? the boat", "what is eaten? soup"]
    assert [choices.preview(n) for n in range(5)] == [
        f"{row['q']} {choice}" for row in QUESTIONS for choice in row["choices"]
    ]
    assert choices.example.tolist() == [0, 0, 0, 1, 1]
    assert choices.right.tolist() == [False, True, False, True, False]
    assert len(choices) == 5 and choices.ids == ["0", "0", "0", "1", "1"]
    encoder = open_tokenizer(tokenizer).tokenizer
    labels = choices.batch([2])["labels"][0]
    assert labels[labels != -100].tolist() == encoder.encode(" an anvil").ids


def test_choices_of_one_question_follow_the_same_part_of_a_long_prompt(tmp_path, tokenizer):
    documents = [Document("0", "", "soup", "the wind fills the sail and turns", ("soup", "the crew pulls"), 0)]
    choices = prepare(tmp_path, tokenizer, documents, length=12).choices
    first = [choices.tokens[row][: choices.spans[row, 1]].tolist() for row in range(2)]
    assert first[0] == first[1] and len(first[0]) > 1
    assert choices.spans[1, 0] == 12


class Preferring(torch.nn.Module):
    """A language model that gives one token a higher logit than all others, everywhere."""

    def __init__(self, token, vocab_size):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(vocab_size))
        self.logits.data[token] = 3.0

    def forward(self, input_ids):
        return self.logits.expand(*input_ids.shape, -1)


def test_accuracy_by_mean_and_by_summed_loss_are_those_of_their_formulas(tmp_path, tokenizer):
    """The long right answer has the lower mean, the short wrong one the lower sum."""
    rows = [*QUESTIONS, {"q": "what is hot?", "choices": ["a rope", "soup soup soup soup soup soup"], "gold": 1}]
    examples = prepare(tmp_path, tokenizer, read_documents(source_of(tmp_path, rows), MULTIPLE))
    encoder = open_tokenizer(tokenizer).tokenizer
    model = Preferring(encoder.encode(" soup").ids[0], examples.vocab_size)
    found = evaluate_choices(model, examples.choices, batch_size=2)
    means, sums = [], []
    for row in range(7):
        batch = examples.choices.batch([row])
        with torch.no_grad():
            means.append(float(outputs_of(model(batch["input_ids"]), batch["labels"]).loss))
        sums.append(means[-1] * int((batch["labels"] != -100).sum()))
    for name, losses in {"accuracy": means, "accuracy_sum": sums}.items():
        expected = []
        for start, end, gold in ((0, 3, 1), (3, 5, 0), (5, 7, 1)):
            own = np.array(losses[start:end])
            expected.append((own == own.min())[gold] / (own == own.min()).sum())
        np.testing.assert_allclose(found[name], expected)
    assert (found["accuracy"][2], found["accuracy_sum"][2]) == (1, 0)


def test_a_model_that_knows_nothing_gets_the_share_of_what_ties(tmp_path, tokenizer):
    rows = [{"q": "q", "choices": ["soup", "soup", "soup", "soup"], "gold": 2}]
    examples = prepare(tmp_path, tokenizer, read_documents(source_of(tmp_path, rows), MULTIPLE))
    found = evaluate_choices(Preferring(3, examples.vocab_size), examples.choices)
    assert found["accuracy"].tolist() == [0.25]


def test_the_loss_of_a_target_with_choices_is_that_of_its_right_continuations(tmp_path, tokenizer):
    with_choices = prepare(tmp_path, tokenizer, read_documents(source_of(tmp_path, QUESTIONS), MULTIPLE))
    plain = [Document(str(n), "", row["choices"][row["gold"]], row["q"]) for n, row in enumerate(QUESTIONS)]
    made = prepare_text(
        lambda skipped: plain, out=tmp_path / "plain", tokenizer=tokenizer, sequence_length=32, pack=False, config={},
        inputs={},
    )  # fmt: skip
    without = open_examples(made.path)
    assert without.choices is None
    model = build_model(model_spec("60k", without), 1)
    np.testing.assert_array_equal(evaluate(model, with_choices)["loss"], evaluate(model, without)["loss"])


def test_choices_with_labels_of_their_own_are_found_by_them(tmp_path):
    rows = [{"q": "x", "choices": {"text": ["soup", "rope"], "label": ["A", "B"]}, "gold": "B"}]
    (document,) = read_documents(source_of(tmp_path, rows), MULTIPLE)
    assert (document.text, document.answer, document.choices) == ("rope", 1, ("soup", "rope"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gold": 2}, "column 'gold' holds 2, which is none of 2 choices counted from 0"),
        ({"gold": -1}, "holds -1"),
        ({"gold": None}, "holds None"),
        ({"choices": "soup"}, "holds no list of texts"),
        ({"choices": ["soup", " "]}, "holds no list of texts"),
        ({"choices": ["soup"], "gold": 0}, "none of 1 choices"),
    ],
)
def test_a_question_without_a_right_answer_is_named_or_skipped(tmp_path, change, said):
    rows = [QUESTIONS[0], QUESTIONS[1] | change]
    with pytest.raises(InputError, match="row 2") as error:
        list(read_documents(source_of(tmp_path, rows), MULTIPLE))
    assert said in str(error.value) and "\n" not in str(error.value)
    skipped = Skipped()
    kept = list(read_documents(source_of(tmp_path, rows, bad_rows="skip"), MULTIPLE, skipped))
    assert [one.id for one in kept] == ["0"] and skipped.counts.total() == 1


def test_labelled_text_becomes_a_question_with_every_class_as_a_choice(tmp_path):
    rows = [{"text": "fine soup", "label": 1}, {"text": "bad rope", "label": 0}]
    source = source_of(tmp_path, rows)
    columns = TextColumns(classify="label", classes=("0=bad", "1=good"), question="\nVerdict:")
    documents = list(read_documents(source, columns))
    assert [(d.prompt, d.text, d.choices) for d in documents] == [
        ("fine soup\nVerdict:", "good", ("bad", "good")),
        ("bad rope\nVerdict:", "bad", ("bad", "good")),
    ]
    assert TextColumns(classify="label").of_source(source).classes == ("0", "1")
    with pytest.raises(InputError, match="class '1' is none of the classes 0, 2"):
        list(read_documents(source, TextColumns(classify="label", classes=("0", "2"))))
    with pytest.raises(InputError, match="has 1 classes"):
        TextColumns(classify="label").of_source(source_of(tmp_path, rows[:1]))


@pytest.mark.parametrize(
    "columns",
    [{"choices": "c", "prompt": "p"}, {"gold": "g"}, {"choices": "c", "gold": "g"}, {"classify": "c", "prompt": "p"}],
)
def test_columns_that_do_not_belong_together_are_refused(columns):
    with pytest.raises(InputError, match=r"multiple choice needs|classify reads"):
        TextColumns(**columns)


def test_copies_under_other_ids_fall_on_one_side_of_every_split():
    texts = [f"sentence number {n % 100}" for n in range(300)]
    documents = [Document(str(n), "", text if n < 200 else f" {text.upper()}\n") for n, text in enumerate(texts)]
    low, high = ([d.text for d in part_of(documents, *part, seed=3)] for part in ((0, 0.4), (0.4, 1)))
    assert len(low) + len(high) == 300 and low and high
    assert not {" ".join(text.lower().split()) for text in low} & {" ".join(text.lower().split()) for text in high}


def test_one_question_with_two_answers_and_rows_of_one_group_are_not_split():
    same_prompt = [Document(str(n), "", f"answer {n}", f"question {n % 50}") for n in range(200)]
    same_group = [Document(str(n), "", f"text {n}", group=f"article {n % 50}") for n in range(200)]
    for documents in (same_prompt, same_group):
        low = {int(d.id) % 50 for d in part_of(documents, 0, 0.5, seed=0)}
        high = {int(d.id) % 50 for d in part_of(documents, 0.5, 1, seed=0)}
        assert low | high == set(range(50)) and not low & high


def test_the_list_of_skipped_rows_is_in_the_artefact(tmp_path, tokenizer):
    rows = [{"text": "soup"}, {"text": " "}, {"text": 3}]
    source = source_of(tmp_path, rows, bad_rows="skip")
    made = prepare_text(
        lambda skipped: read_documents(source, TextColumns(), skipped),
        out=tmp_path / "pool",
        tokenizer=tokenizer,
        sequence_length=8,
        pack=True,
        config={},
        inputs={},
    )
    listed = pq.read_table(made.file("skipped.parquet")).to_pylist()
    file = str(tmp_path / "rows.jsonl")
    assert listed == [
        {"file": file, "row": 2, "id": "1", "reason": "empty"},
        {"file": file, "row": 3, "id": "2", "reason": "not text"},
    ]
    assert made.facts["skipped"] == {"empty": 1, "not text": 1}


def test_a_choice_of_no_token_is_not_found_before_others(tmp_path):
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=99, special_tokens=["<|endoftext|>"], show_progress=False)
    words.train_from_iterator(["what yes no"], trainer)
    words.save(str(tmp_path / "words.json"))
    rows = [{"q": "what", "choices": ["yes", "no", "☃"], "gold": 0}]
    examples = prepare(tmp_path, tmp_path / "words.json", read_documents(source_of(tmp_path, rows), MULTIPLE))
    assert examples.choices.num_predicted.tolist() == [1, 1, 0]
    found = evaluate_choices(Preferring(words.token_to_id("yes"), examples.vocab_size), examples.choices)
    assert found["accuracy"].tolist() == found["accuracy_sum"].tolist() == [1.0]
