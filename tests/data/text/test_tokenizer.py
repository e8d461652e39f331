"""Tokenizers: which token ends a document, and what they are learnt from."""

import json

import pytest
from tokenizers import AddedToken

from tests.data.text.tokenizers_of_each_kind import byte_level, metaspace, word_piece
from thresher.cli.main import main
from thresher.data.examples import open_examples
from thresher.data.text.documents import Document, texts_to_learn_from
from thresher.data.text.tokenizer import open_tokenizer, vocab_size_of
from thresher.errors import InputError
from thresher.studies.preparation import cut_lines, prepare
from thresher.studies.study import PoolTable, Study, TargetTable
from thresher.studies.study_check import check_study
from thresher.workspace import Workspace


def checkpoint(folder, tokenizer, **files):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def with_turns():
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|im_end|>", "</s>"])
    return tokenizer


SAID = [
    ({"tokenizer_config": {"eos_token": "<|im_end|>"}, "config": {"eos_token_id": 0}}, "<|im_end|>"),
    ({"tokenizer_config": {"eos_token": {"content": "<|im_end|>", "special": True}}}, "<|im_end|>"),
    ({"special_tokens_map": {"eos_token": "</s>"}}, "</s>"),
    ({"tokenizer_config": {"eos_token": None}, "special_tokens_map": {"eos_token": {"content": "</s>"}}}, "</s>"),
    ({"generation_config": {"eos_token_id": [300, 0]}, "config": {"eos_token_id": 0}}, "<|im_end|>"),
    ({"config": {"eos_token_id": 301}}, "</s>"),
    ({"config": {"model_type": "x", "text_config": {"eos_token_id": 300}}}, "<|im_end|>"),
    ({"config": {"eos_token_id": 50256}}, "<|endoftext|>"),
    ({"config": {"eos_token_id": 7}}, "<|endoftext|>"),
    ({}, "<|endoftext|>"),
]


@pytest.mark.parametrize(("files", "end"), SAID)
def test_the_end_token_is_what_the_checkpoint_says_before_any_usual_name(tmp_path, files, end):
    tokenizer = with_turns()
    assert tokenizer.token_to_id("<|im_end|>") == vocab_size_of(tokenizer) - 2
    # 300 and 301 stand for the ids of the two added tokens.
    turn, stop = (str(tokenizer.token_to_id(name)) for name in ("<|im_end|>", "</s>"))
    files = json.loads(json.dumps(files).replace("300", turn).replace("301", stop))
    folder = checkpoint(tmp_path / "checkpoint", tokenizer, **files)
    for name in (folder, f"hf:{folder}", folder / "tokenizer.json"):
        assert open_tokenizer(name).end == tokenizer.token_to_id(end)


def test_what_a_prepared_pool_ended_documents_in_is_what_a_target_of_its_tokenizer_ends_in(tmp_path):
    folder = checkpoint(tmp_path / "checkpoint", with_turns(), tokenizer_config={"eos_token": "<|im_end|>"})
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "the cat sat on the mat"}) + "\n")
    for out, name in (("pool", folder), ("again", tmp_path / "pool")):
        arguments = ["prepare", "--data", tmp_path / "rows.jsonl", "--tokenizer", name, "--out", tmp_path / out]
        assert main([*map(str, arguments), "--quiet"]) == 0
    pool, again = open_examples(tmp_path / "pool"), open_examples(tmp_path / "again")
    assert pool.tokens[0][-1] == again.tokens[0][-1] == with_turns().token_to_id("<|im_end|>")
    assert pool.artifact.facts["end_token"] == "<|im_end|>" and pool.tokenizer_hash == again.tokenizer_hash


def test_an_end_token_that_is_named_but_not_there_is_refused(tmp_path):
    folder = checkpoint(tmp_path / "checkpoint", byte_level(), tokenizer_config={"eos_token": "<end>"})
    with pytest.raises(InputError, match=r"tokenizer_config.json of .* names the end token '<end>'"):
        open_tokenizer(folder)


def test_a_file_alone_goes_by_usual_names_and_one_without_is_refused(tmp_path):
    for tokenizer, end in ((metaspace(), "</s>"), (word_piece(), "[SEP]")):
        tokenizer.save(str(tmp_path / "alone.json"))
        (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "the"}')
        assert open_tokenizer(tmp_path / "alone.json").end == tokenizer.token_to_id(end)
    spoiled = json.loads(metaspace().to_str().replace("</s>", "<finish>"))
    (tmp_path / "alone.json").write_text(json.dumps(spoiled))
    with pytest.raises(InputError, match="has no end-of-document token; name its eos_token"):
        open_tokenizer(tmp_path / "alone.json")


def test_a_path_that_is_not_there_is_said_and_not_looked_up():
    for name in ("no/such/folder/here", "./checkpoint", "tokenizer.json", "/tmp/none-there"):
        with pytest.raises(InputError, match="there is no such file or folder"):
            open_tokenizer(name)


def test_a_checkpoint_with_files_of_the_older_kind_has_the_same_tokenizer(tmp_path):
    tokenizer = byte_level()
    tokenizer.model.save(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"}'
    )
    opened = open_tokenizer(tmp_path)
    assert opened.tokenizer.encode("the cat sat", add_special_tokens=False).ids == tokenizer.encode("the cat sat").ids
    assert opened.end == 0


def test_an_end_token_that_is_not_marked_special_stays_text_in_documents(tmp_path):
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<finish>", special=False, normalized=False)])
    folder = checkpoint(tmp_path / "checkpoint", tokenizer, tokenizer_config={"eos_token": "<finish>"})
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "the <finish> cat"}) + "\n")
    arguments = ["prepare", "--data", tmp_path / "rows.jsonl", "--tokenizer", folder, "--out", tmp_path / "pool"]
    assert main([*map(str, arguments), "--quiet"]) == 0
    examples, (encoder, end, hashed, _) = open_examples(tmp_path / "pool"), open_tokenizer(folder)
    assert examples.tokens[0].tolist().count(end) == 1 and examples.tokens[0][-1] == end
    assert examples.preview(0).startswith("the <finish> cat")
    assert open_tokenizer(tmp_path / "pool").hash == hashed and vocab_size_of(encoder) == vocab_size_of(tokenizer)


def test_the_size_of_a_vocabulary_counts_added_tokens_and_holes():
    described = json.loads(byte_level().to_str())
    described["added_tokens"].append(described["added_tokens"][0] | {"id": 400, "content": "<far>"})
    tokenizer = type(byte_level()).from_str(json.dumps(described))
    assert vocab_size_of(tokenizer) == max(tokenizer.get_vocab().values()) + 1 >= 291


def test_a_tokenizer_is_learnt_from_prompts_their_continuations_and_each_choice_once():
    documents = [
        Document("0", "", "yes", "is it wet?\nLabel:", ("no", "yes"), 1),
        Document("1", "", "no", "is it dry?\n", ("no", "yes"), 0),
        Document("2", "", "whole text"),
    ]
    assert list(texts_to_learn_from(documents)) == [
        "is it wet?\nLabel: yes", " no", "is it dry?\nno", "yes", "whole text",
    ]  # fmt: skip


WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("nda", "lor", "mi", "quet", "zop")]


@pytest.mark.parametrize("kind", ["continuation", "choices", "classify"])
def test_a_pool_of_prompts_fills_its_vocabulary_and_few_rows_are_cut(tmp_path, kind, capsys):
    rows = []
    for number in range(300):
        words = [WORDS[(number * 7 + step * step * 11) % len(WORDS)] for step in range(24)]
        rows.append({"prompt": " ".join(words), "answer": "yes", "choices": ["no", "yes"], "gold": 1})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {
        "continuation": ["--prompt", "prompt", "--continuation", "answer"],
        "choices": ["--prompt", "prompt", "--choices", "choices", "--gold", "gold"],
        "classify": ["--text", "prompt", "--classify", "answer", "--classes", "yes", "no"],
    }[kind]
    out = tmp_path / "pool"
    arguments = [
        "--data",
        tmp_path / "rows.jsonl",
        *columns,
        "--vocab-size",
        600,
        "--sequence-length",
        48,
        "--out",
        out,
    ]
    assert main(["prepare", *map(str, arguments), "--quiet", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["vocab_size"] == 600 and result["cut"]["num_rows"] == 0


def test_settings_that_cannot_work_are_refused_before_a_tokenizer_is_trained(tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "the cat sat"}) + "\n")
    for wrong, said in (
        (["--sequence-length", "1"], "--sequence-length 1 cannot be; give a number from 2"),
        (["--limit", "0"], "--limit 0 cannot be; give a number from 1"),
        (["--part", "0.5", "0.5"], "the part [0.5, 0.5) is empty"),
        (["--bad-rows", "ignore"], "--bad-rows 'ignore' is unknown; pass one of: refuse, skip, replace"),
        (["--task", "audio"], "--task 'audio' is unknown"),
        (["--vocab-size", "100"], "vocab_size=100 is too small"),
        (["--tokenizer", "no/such/tokenizer.json"], "there is no such file or folder"),
    ):
        arguments = ["prepare", "--data", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "pool"), *wrong]
        assert main([*arguments, "--quiet"]) == 2
        assert said in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl"]


def test_rows_that_are_cut_are_reported_with_a_length_that_would_do(tmp_path, capsys):
    prompts = [" ".join(["word"] * (40 if number % 4 else 4)) for number in range(40)]
    rows = [{"prompt": prompt, "answer": "yes"} for prompt in prompts]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = ["prepare", "--data", tmp_path / "rows.jsonl", "--prompt", "prompt", "--continuation", "answer", "--quiet"]
    base = [*map(str, base), "--vocab-size", "300"]
    assert main([*base, "--sequence-length", "16", "--out", str(tmp_path / "short")]) == 0
    said = capsys.readouterr()
    facts = open_examples(tmp_path / "short").artifact.facts
    # 30 of 40 rows have 41 tokens (40 words and the answer) or more; 48 is the next multiple of 8.
    assert facts["cut"]["num_rows"] == 30 and facts["cut"]["share"] == 0.75
    length = facts["cut"]["length_for_95_percent"]
    assert length % 8 == 0 and f"a sequence length of {length} would keep 95 % of them whole" in said.out
    assert "thresher: warning: 30 of 40 rows (75.0%) were cut to 16 tokens" in said.err
    assert main([*base, "--sequence-length", str(length), "--out", str(tmp_path / "long")]) == 0
    said = capsys.readouterr()
    assert open_examples(tmp_path / "long").artifact.facts["cut"]["share"] <= 0.05
    assert "warning" not in said.err and "cut to" not in said.out


def test_a_study_learns_its_tokenizer_from_the_pool_and_says_which_targets_are_cut(tmp_path, capsys):
    pool = [{"text": " ".join(WORDS[(n * 7 + k * k) % len(WORDS)] for k in range(30))} for n in range(200)]
    # Of other words than the pool's, each of which takes several tokens.
    target = [{"prompt": f"xylo {n} whizz " * 8, "answer": "jazz"} for n in range(40)]
    for name, rows in (("pool", pool), ("target", target)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = Study(
        vocab_size=500,
        sequence_length=32,
        pool=PoolTable(data=str(tmp_path / "pool.jsonl"), holdout=0.0),
        target={"jazz": TargetTable(data=str(tmp_path / "target.jsonl"), prompt="prompt", continuation="answer")},
    )
    prepared = prepare(study, Workspace(tmp_path / "run", "cpu"))
    assert prepared.pool.artifact.facts["vocab_size"] == 500
    lines = cut_lines(prepared)
    assert set(lines) == {"target jazz", "held-out jazz"}
    rows = len(prepared.targets["jazz"])
    assert lines["target jazz"].startswith(f"{rows} of {rows} rows (100.0%) were cut to 32 tokens")
    said = capsys.readouterr().err
    assert all(f"thresher: warning: {name}-jazz: " in said for name in ("target", "heldout"))


def test_a_study_that_cannot_be_tokenised_is_refused_before_anything_is_read():
    tables = {"pool": PoolTable(data="none"), "target": {"t": TargetTable(data="none")}}
    for settings, said in (
        ({"sequence_length": 1}, "sequence_length=1"),
        ({"vocab_size": 9}, "vocab_size=9"),
        ({"tokenizer": "./none"}, "there is no such file"),
    ):
        with pytest.raises(InputError, match=said):
            check_study(Study(**settings, **tables))
