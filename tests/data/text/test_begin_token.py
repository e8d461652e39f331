"""A token that a checkpoint puts before its texts stands before ours, and is not predicted."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, processors

from thresher.cli.main import main
from thresher.data.examples import open_examples
from thresher.data.text.tokenizer import open_tokenizer, train_tokenizer

TEXTS = ["the wind fills the sail", "boil the rice with salt and stir the soup then bake the bread", "one two three"]


@pytest.fixture
def folder(tmp_path):
    """A tokenizer with a token <s>, which nothing puts anywhere yet."""
    train_tokenizer(TEXTS, vocab_size=270, out=tmp_path / "plain", inputs={})
    tokenizer = Tokenizer.from_file(str(tmp_path / "plain" / "tokenizer.json"))
    tokenizer.add_special_tokens(["<s>"])
    made = tmp_path / "checkpoint"
    made.mkdir()
    tokenizer.save(str(made / "tokenizer.json"))
    return made


def say(folder, **settings):
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>", **settings}))


def template(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    begin = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return begin


def test_what_is_said_goes_before_what_the_tokenizer_does(folder):
    begin = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("<s>")
    assert open_tokenizer(folder).begin is None
    say(folder, bos_token="<s>", add_bos_token=True)
    assert open_tokenizer(folder).begin == begin
    say(folder, bos_token={"content": "<s>"}, add_bos_token=False)
    template(folder)
    assert open_tokenizer(folder).begin is None
    say(folder, bos_token="<s>")
    assert open_tokenizer(folder).begin == begin


@pytest.mark.parametrize("length", [8, 64])
def test_documents_and_prompts_begin_with_it_and_it_is_never_predicted(folder, length, tmp_path):
    begin = template(folder)
    rows = [{"text": text, "prompt": text, "answer": " aye"} for text in TEXTS]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shape = ("--data", str(tmp_path / "rows.jsonl"), "--tokenizer", str(folder), "--sequence-length", str(length))
    asked = {"whole": (), "asked": ("--prompt", "prompt", "--continuation", "answer")}
    for name, options in asked.items():
        assert main(["prepare", *shape, *options, "--out", str(tmp_path / name), "--quiet"]) == 0
        examples = open_examples(tmp_path / name)
        assert examples.artifact.facts["begin_token"] == "<s>"
        assert [int(examples.tokens[row][0]) for row in range(3)] == [begin] * 3
        windows = examples.batch(np.arange(len(examples.windows.example)))
        assert not bool((windows["labels"] == begin).any())
        assert int((windows["input_ids"] == begin).sum()) == 3
        assert windows["input_ids"].shape[1] <= length
    first = open_examples(tmp_path / "whole").batch([0])
    assert first["labels"][0, 0] == -100 and first["labels"][0, 1] == first["input_ids"][0, 1]
    # A pool prepared with the same tokenizer, by way of another prepared pool.
    assert open_tokenizer(tmp_path / "whole").begin == begin


@pytest.mark.parametrize("has_begin", [True, False])
def test_a_row_without_a_prompt_predicts_its_first_token_where_a_begin_token_stands_before_it(
    folder, tmp_path, has_begin
):
    if has_begin:
        template(folder)
    rows = [{"prompt": "", "answer": text} for text in (*TEXTS, "a")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = ("--prompt", "prompt", "--continuation", "answer", "--tokenizer", str(folder), "--quiet")
    whole = 0
    for length in (64, 12):
        out = tmp_path / str(length)
        assert main(["prepare", "--data", str(tmp_path / "rows.jsonl"), *columns, "--sequence-length", str(length),
                     "--out", str(out)]) == 0  # fmt: skip
        examples = open_examples(out)
        tokens = [len(examples.tokens[row]) for row in range(len(examples))]
        assert examples.num_predicted.tolist() == [size - 1 for size in tokens]
        whole = whole or sum(tokens)
        assert sum(tokens) == whole - examples.artifact.facts["cut"]["num_tokens"]
    # "a" alone is one token, which only a begin token can predict.
    assert len(examples) == (4 if has_begin else 3)


def test_the_suggested_length_has_room_for_the_begin_token(folder, tmp_path, capsys):
    template(folder)
    rows = [{"prompt": "q", "answer": "x" * 15} for _ in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = ("--prompt", "prompt", "--continuation", "answer", "--tokenizer", str(folder), "--quiet")
    lengths, share = [8], 1.0
    while share > 0 and len(lengths) < 3:
        out = tmp_path / str(lengths[-1])
        assert main(["prepare", "--data", str(tmp_path / "rows.jsonl"), *columns, "--sequence-length",
                     str(lengths[-1]), "--out", str(out)]) == 0  # fmt: skip
        cut = open_examples(out).artifact.facts["cut"]
        share = cut["share"]
        lengths.append(cut["length_for_95_percent"])
    assert share == 0 and len(lengths) == 3
