"""Tasks of lm-evaluation-harness as targets: the texts it asks a model for, and the accuracies that it gets."""

import json
from pathlib import Path

import numpy as np
import pytest

import thresher
from tests.toy_corpus import WORDS
from thresher.cli.main import main
from thresher.data.examples import open_examples
from thresher.data.sources.source import Source
from thresher.errors import InputError
from thresher.proxies.evaluation import evaluate_choices
from thresher.proxies.models.weights import loaders_of
from thresher.studies.preparation import columns_of, prepare
from thresher.studies.study_file import read_study, study_text
from thresher.workspace import Workspace

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.integration

QUESTIONS = [
    {"q": "what floats?", "options": ["stone", "the boat", "an anvil or rope"], "answer": 1, "right": "the boat"},
    {"q": "what is eaten?", "options": ["soup", "rope"], "answer": 0, "right": "soup"},
    {"q": "what is one plus one?", "options": ["three", "two", "eleven times ten"], "answer": 1, "right": "two"},
]
KINDS = {
    "choices": {"output_type": "multiple_choice", "doc_to_choice": "{{options}}", "doc_to_target": "answer"},
    "words": {"output_type": "multiple_choice", "doc_to_choice": "{{options}}", "doc_to_target": "right"},
    "written": {"output_type": "generate_until", "doc_to_target": "{{right}}"},
    "cloze": {"output_type": "loglikelihood", "doc_to_target": " {{right}}"},
    "whole": {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{q}} {{right}}"},
}


@pytest.fixture
def task(tmp_path):
    """The file of a task of one kind over QUESTIONS, as the harness reads it (its YAML may be JSON)."""

    def task(kind, rows=QUESTIONS, **settings) -> Path:
        for split, part in {"test": rows, "train": rows[:1]}.items():
            (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
        files = {split: str(tmp_path / f"{split}.jsonl") for split in ("test", "train")}
        config = {
            "task": f"toy_{kind}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": files, "cache_dir": str(tmp_path / "cache")},
            "training_split": "train",
            "test_split": "test",
            "doc_to_text": "Question: {{q}}\nAnswer:",
        }
        metrics = {"metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}]}
        file = tmp_path / f"{kind}.yaml"
        file.write_text(json.dumps(config | (metrics if "multiple" in KINDS[kind]["output_type"] else {})
                                   | KINDS[kind] | settings))  # fmt: skip
        return file

    return task


def rows_of(file, split=None):
    return list(Source((f"lm_eval:{file}",), split).rows([]))


@pytest.mark.parametrize("kind", ["choices", "words"])
def test_multiple_choice_has_the_harness_s_prompt_and_choices_and_the_right_one(task, kind):
    rows = rows_of(task(kind))
    assert [row["id"] for row in rows] == [f"toy_{kind}/test/{n}" for n in range(3)]
    assert rows[0]["prompt"] == "Question: what floats?\nAnswer:"
    assert rows[0]["choices"] == [" stone", " the boat", " an anvil or rope"]
    assert [row["gold"] for row in rows] == [1, 0, 1]
    assert [row["text"] for row in rows] == [" the boat", " soup", " two"]


@pytest.mark.parametrize("kind", ["written", "cloze"])
def test_a_right_answer_is_the_continuation_of_its_prompt(task, kind):
    rows = rows_of(task(kind))
    assert {row["prompt"] + row["text"] for row in rows} >= {"Question: what floats?\nAnswer: the boat"}
    assert all(row["choices"] is None and row["prompt"].endswith("Answer:") for row in rows)


def test_a_task_of_whole_texts_has_no_prompt(task):
    rows = rows_of(task("whole"))
    assert next((row["prompt"], row["text"]) for row in rows) == ("", "what floats? the boat")


def test_a_split_is_the_task_s_own_and_all_are_every_one(task):
    assert [row["id"] for row in rows_of(task("choices"), "train")] == ["toy_choices/train/0"]
    assert len(rows_of(task("choices"), "all")) == 4
    with pytest.raises(InputError, match="no split 'dev'; its splits are: train, test"):
        rows_of(task("choices"), "dev")


def test_what_is_no_task_is_said_in_one_line(task, tmp_path):
    with pytest.raises(InputError, match="does not exist; check the path of the task's file"):
        rows_of(tmp_path / "none.yaml")
    broken = task("choices", dataset_kwargs={"data_files": {"test": str(tmp_path / "none.jsonl")}})
    with pytest.raises(InputError, match=r"could not be loaded .*; check the task, its data") as error:
        rows_of(broken)
    assert "\n" not in str(error.value)


def test_a_document_that_the_task_s_own_code_fails_on_is_said(task):
    odd = [*QUESTIONS, {"q": "what?", "options": None, "answer": 0, "right": "c"}]
    with pytest.raises(InputError, match="document toy_choices/test/3 could not be loaded"):
        rows_of(task("choices", odd))


def test_documents_of_the_pool_that_hold_a_question_are_left_out(task, tmp_path):
    long = " ".join(f"word{n}" for n in range(20))
    file = task("written", [QUESTIONS[0] | {"q": long}])
    (tmp_path / "pool.jsonl").write_text(
        "".join(json.dumps({"text": t}) + "\n" for t in (f"so {long}, yes", "other words"))
    )
    command = ["prepare", "--data", str(tmp_path / "pool.jsonl"), "--vocab-size", "300", "--quiet", "--out"]
    assert main([*command, str(tmp_path / "pool"), "--decontaminate", f"toy=lm_eval:{file}"]) == 0
    assert thresher.open(tmp_path / "pool").load().texts([0]) == ["other words"]


def test_a_right_choice_that_is_none_of_them_is_a_bad_row(task):
    odd = [*QUESTIONS, {"q": "what?", "options": ["a", "b"], "answer": 7, "right": "c"}]
    command = ["prepare", "--data", f"lm_eval:{task('choices', odd)}", "--vocab-size", "300", "--quiet", "--out"]
    out = task("choices", odd).parent / "target"
    assert main([*command, str(out)]) == 2
    assert main([*command, str(out), "--bad-rows", "skip"]) == 0
    assert len(open_examples(out)) == 3


def test_the_accuracies_of_a_prepared_task_are_those_that_the_harness_measures(task, tmp_path):
    """The same checkpoint over the same task, by `lm_eval.simple_evaluate` and by ours."""
    checkpoint = small_checkpoint(tmp_path / "checkpoint")
    words = [word for text in WORDS.values() for word in text.split()]
    draw = np.random.default_rng(0)
    many = [
        {"q": " ".join(draw.choice(words, 4)), "answer": int(draw.integers(3)), "right": "",
         "options": [" ".join(draw.choice(words, size)) for size in (1, 2, 4)]}
        for _ in range(24)
    ]  # fmt: skip
    file = task("choices", many)
    target = thresher.prepare(f"lm_eval:{file}", out=tmp_path / "target", tokenizer=checkpoint)
    assert len(target) == 24 and set(target.table()["domain"]) == {"toy_choices"}
    ((_, load),) = loaders_of([f"hf:{checkpoint}"], target.load())
    ours = evaluate_choices(load(), target.load().choices, device="cpu")["accuracy_sum"].mean()
    theirs = harness_results(file, checkpoint)
    assert ours == pytest.approx(theirs) and 0.05 < theirs < 0.95


def test_a_study_names_a_task_in_place_of_data_with_the_path_of_its_file_from_its_own_folder(task, tmp_path):
    name = task("choices").name
    text = f'[pool]\ndata = "pool.jsonl"\n[target.toy]\ntask = "lm_eval:{name}"\n'
    (tmp_path / "study.toml").write_text(text)
    study = read_study(tmp_path / "study.toml")
    assert study.target["toy"].task == f"lm_eval:{tmp_path / name}"
    assert f'task = "lm_eval:{name}"' in study_text(study, beside=tmp_path)
    columns = columns_of(study.target["toy"])
    assert (columns.prompt, columns.choices, columns.gold) == ("prompt", "choices", "gold")
    for odd in (text.replace(f"lm_eval:{name}", name), text + 'data = "beside.jsonl"\n'):
        (tmp_path / "study.toml").write_text(odd)
        with pytest.raises(InputError, match="write it in place of data, as lm_eval:NAME"):
            read_study(tmp_path / "study.toml")


def test_a_study_selects_for_one_half_of_a_task_and_validates_on_the_other_with_its_choices(task, corpus, tmp_path):
    many = [row | {"q": f"{row['q']} ({n})"} for n in range(8) for row in QUESTIONS]
    text = f'[pool]\ndata = "{corpus}"\n[target.toy]\ntask = "lm_eval:{task("choices", many)}"\n'
    (tmp_path / "study.toml").write_text(f"vocab_size = 300\n{text}")
    prepared = prepare(read_study(tmp_path / "study.toml"), Workspace(tmp_path / "work"))
    seen, unseen = prepared.targets["toy"], prepared.heldout["toy"]
    assert {*seen.ids, *unseen.ids} == {f"toy_choices/test/{n}" for n in range(24)}
    assert not {*seen.ids} & {*unseen.ids} and len(seen) > 3 and len(unseen) > 3
    assert unseen.choices is not None and unseen.choices.right.sum() == len(unseen)


def harness_results(file: Path, checkpoint: Path) -> float:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model = HFLM(pretrained=str(checkpoint), device="cpu", batch_size=4, dtype="float32")
    found = simple_evaluate(model, tasks=[str(file)], num_fewshot=0, task_manager=TaskManager(include_defaults=False))
    return found["results"]["toy_choices"]["acc,none"]


def small_checkpoint(folder: Path) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(WORDS.values(), trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)
    config = GPT2Config(vocab_size=tokenizer.get_vocab_size(), n_positions=128, n_embd=16, n_layer=2, n_head=2,
                        initializer_range=0.5, bos_token_id=0, eos_token_id=0)  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder
