"""Sequence classifiers, from a table of texts and labels to scores: each step from the command line."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers as hf
from tokenizers import processors
from torch import nn

from tests.attribution.cases import exact_gradients
from tests.proxies.models.checkpoint_cases import DECODER, ENCODER, GPT2, save, seeded
from thresher.attribution.gradients.featurizer import Featurizer
from thresher.cli.main import main
from thresher.data.examples import open_examples
from thresher.data.examples.scored import scored_texts
from thresher.data.text.tokenizer import open_tokenizer, train_tokenizer
from thresher.devices import full_float32
from thresher.outputs import logits_of, outputs_of
from thresher.proxies.evaluation import evaluate
from thresher.proxies.models.spec import model_spec
from thresher.proxies.models.weights import open_model

SIZE = 280
WORDS = {"good": "sun warm sweet kind bright", "bad": "rain cold bitter cruel dark"}
LABELS = {"id2label": {0: "good", 1: "bad"}, "label2id": {"good": 0, "bad": 1}}


@pytest.fixture(autouse=True)
def full_precision():
    """What is computed here to compare with is full float32, whatever the process allows."""
    with full_float32():
        yield


def run(capsys, *arguments):
    capsys.readouterr()
    status = main([*map(str, arguments), "--quiet"])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def classifiers():
    def config(kind, sizes, **more):
        return kind(**sizes | {"vocab_size": SIZE} | LABELS | more)

    return {
        "bert": lambda: (hf.BertForSequenceClassification, config(hf.BertConfig, ENCODER)),
        "roberta": lambda: (hf.RobertaForSequenceClassification, config(hf.RobertaConfig, ENCODER)),
        "gpt2": lambda: (
            hf.GPT2ForSequenceClassification,
            config(hf.GPT2Config, GPT2, pad_token_id=None, eos_token_id=0),
        ),
        "llama": lambda: (hf.LlamaForSequenceClassification, config(hf.LlamaConfig, DECODER)),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Checkpoints of four families with one tokenizer, which puts [CLS] and [SEP] around a text; pool and target."""
    folder, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    for name, count in (("pool", 40), ("target", 12)):
        rows = []
        for number in range(count):
            label = ("bad", "good")[number % 2]
            words = rng.choice(WORDS[label].split(), size=int(rng.integers(2, 6)))
            rows.append({"text": " ".join(words), "label": label, "mood": number % 3})
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train_tokenizer([" ".join(WORDS.values())], vocab_size=270, out=folder / "plain", inputs={})
    tokenizer = open_tokenizer(folder / "plain").tokenizer
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    for name, make in classifiers().items():
        save(seeded(*make()), folder / name)
        tokenizer.save(str(folder / name / "tokenizer.json"))
    for name in ("pool", "target"):
        given = ("--data", folder / f"{name}.jsonl", "--tokenizer", folder / "bert", "--sequence-length", 30)
        given = ("prepare", "--task", "text-classification", *given, "--out", folder / name, "--quiet")
        assert main([*map(str, given)]) == 0
    return folder


def test_texts_stand_as_the_checkpoint_s_tokenizer_writes_them(made):
    examples, tokenizer = open_examples(made / "pool"), open_tokenizer(made / "bert").tokenizer
    texts = [json.loads(line)["text"] for line in (made / "pool.jsonl").read_text().splitlines()]
    batch = examples.batch(np.arange(len(examples)))
    assert list(examples.classes) == ["bad", "good"] and batch["labels"].tolist() == [0, 1] * 20
    for row, text in enumerate(texts):
        ids = tokenizer.encode(text).ids
        assert batch["input_ids"][row][batch["attention_mask"][row] == 1].tolist() == ids
        assert batch["attention_mask"][row].sum() == len(ids) == examples.lengths()[row]
    assert examples.texts([3]) == [texts[3]] and examples.source_columns([3])[0]["mood"] == 0


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "llama"])
def test_a_text_s_logits_are_the_checkpoint_s_own_for_that_text_alone(name, made):
    """In a batch with longer ones, in the order of the examples' classes."""
    pool, tokenizer = open_examples(made / "pool"), open_tokenizer(made / "bert").tokenizer
    plain = hf.AutoModelForSequenceClassification.from_pretrained(made / name).eval()
    logits = logits_of(open_model(made / name, pool), pool.batch(np.arange(8)))
    for row, text in enumerate(pool.texts(np.arange(8))):
        alone = plain(input_ids=torch.tensor([tokenizer.encode(text).ids])).logits[0]
        torch.testing.assert_close(logits[row], alone[[1, 0]], rtol=1e-4, atol=1e-5)
    results = evaluate(open_model(made / name, pool), pool, device="cpu")
    expected = nn.functional.cross_entropy(logits, torch.tensor([0, 1] * 4), reduction="none")
    np.testing.assert_allclose(results["loss"][:8], expected.detach(), rtol=1e-4)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "llama"])
def test_gradients_of_a_classifier_equal_autograd(name, made):
    pool = open_examples(made / "pool")
    model, batch = open_model(made / name, pool), pool.batch(np.arange(6))
    with Featurizer(model, projection="identity") as featurize:
        found = featurize(batch)
        assert "fallback" not in featurize.coverage.values()
    exact = exact_gradients(model, batch)
    assert float((found.features - exact).norm() / exact.norm()) < 1e-5
    assert torch.equal(found.outputs.correct, outputs_of(logits_of(model, batch), batch["labels"]).correct)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_training_featurising_scoring_searching_and_validating_work_end_to_end(name, made, tmp_path, capsys):
    def do(*arguments):
        status, out, error = run(capsys, *arguments)
        assert status == 0, error
        return out

    pool, target = made / "pool", made / "target"
    recipe = ("--epochs", 20, "--learning-rate", 3e-3, "--device", "cpu", "--precision", "float32")
    do("train", "--pool", pool, "--model", f"hf:{made / name}", *recipe, "--out", tmp_path / "model")
    assert evaluate(open_model(tmp_path / "model"), open_examples(target), device="cpu")["correct"].mean() > 0.9
    for which in ("pool", "target"):
        given = ("--models", tmp_path / "model", "--examples", made / which, "--k", 32)
        out = do("featurize", *given, "--out", tmp_path / which)
        assert "a uniform guess: 0.6931" in out
    features = ("--pool", tmp_path / "pool", "--targets", f"t={tmp_path / 'target'}")
    do("score", *features, "--out", tmp_path / "scores")
    scores = pq.read_table(tmp_path / "scores" / "scores.parquet").to_pydict()
    assert scores["domain"][:2] == ["bad", "good"] and np.isfinite(scores["t"]).all()
    do("index", "--features", tmp_path / "pool", "--out", tmp_path / "index")
    search = ("--index", tmp_path / "index", "--target", tmp_path / "target", "--example", 0, "--pool", pool)
    assert "label: " in do("search", *search)
    do("select", "--scores", tmp_path / "scores", "--fraction", 0.5, "--out", tmp_path / "subset")
    arms = ("--arms", f"a={tmp_path / 'subset'}", "--targets", f"t={target}", "--model", f"hf:{made / name}")
    do("validate", "--pool", pool, *arms, "--seeds", 2, "--device", "cpu", "--out", tmp_path / "proof")


def test_rows_that_are_cut_or_have_no_class_are_counted_listed_or_refused(made, tmp_path, capsys):
    rows = [{"text": "sun " * 30, "label": "good"}, {"text": "rain", "label": "bad"}, {"text": "fog", "label": None}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = (
        "prepare",
        "--task",
        "text-classification",
        "--data",
        tmp_path / "rows.jsonl",
        "--tokenizer",
        made / "bert",
    )
    given = (*given, "--classes", "bad", "good", "--sequence-length", 8)
    status, _, error = run(capsys, *given, "--out", tmp_path / "x")
    assert status == 2 and "has no class" in error and error.count("\n") == 1
    status, _, error = run(capsys, *given, "--bad-rows", "skip", "--out", tmp_path / "x")
    assert status == 0, error
    examples = open_examples(tmp_path / "x")
    assert examples.artifact.facts["num_shortened"] == 1
    assert examples.artifact.facts["skipped"] == {"shortened": 1, "unknown class": 1}
    assert examples.lengths().max() <= 8 and examples.labels.tolist() == [1, 0]
    sep = open_tokenizer(made / "bert").tokenizer.token_to_id("[SEP]")
    assert [int(examples.tokens[row][-1]) for row in range(2)] == [sep, sep]
    shortened, whole = scored_texts(examples, [0, 1])
    assert shortened.scored.count("sun") < 8 and "".join(shortened) == "sun " * 30 and shortened.after
    assert whole == ("", "rain", "")


def test_what_is_for_another_task_is_refused_by_name(made, tmp_path, capsys):
    pool = open_examples(made / "pool")
    save(seeded(hf.LlamaForCausalLM, hf.LlamaConfig(**DECODER | {"vocab_size": SIZE})), tmp_path / "causal")
    for name, words in {
        str(
            tmp_path / "causal"
        ): r"a language model \(LlamaForCausalLM\), but the examples are for text-classification",
        "0.4M": "unknown for text-classification; pass hf:NAME or module:function",
        "mlp-8x1": "unknown for text-classification",
    }.items():
        with pytest.raises(Exception, match=words):
            model_spec(name, pool)
    arguments = ("prepare", "--task", "text-classification", "--data", made / "pool.jsonl", "--prompt", "text")
    status, _, error = run(capsys, *arguments, "--out", tmp_path / "x")
    assert status == 2 and "--prompt changes nothing with task text-classification" in error
