"""The example programs run as they stand, and do what they say."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torchvision.models import resnet18
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(monkeypatch, capsys, name, *arguments):
    """What an example that takes its arguments from the command line defines, and prints."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    defined = runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return defined, capsys.readouterr().out


@pytest.mark.slow
def test_text_selection_helps_and_the_bottom_hurts(tmp_path):
    difference = runpy.run_path(str(EXAMPLES / "text.py"))["main"](tmp_path)
    assert difference["dsdm"] < 0 < difference["bottom"]


def test_a_digit_is_helped_by_its_own_kind(tmp_path):
    found = runpy.run_path(str(EXAMPLES / "images.py"))["main"](tmp_path)
    assert found["accuracy"] > 0.7
    assert found["helpful"].count(found["label"]) >= 4


def test_a_torchvision_model_on_folders_finds_the_copy_of_a_test_image(tmp_path, monkeypatch, capsys):
    draw = np.random.default_rng(0)
    for side, count in {"train": 3, "test": 1}.items():
        for label in ("cat", "dog"):
            for number in range(count):
                folder = tmp_path / side / label
                folder.mkdir(parents=True, exist_ok=True)
                pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    copied = (tmp_path / "test" / "cat" / "0.png").read_bytes()
    (tmp_path / "train" / "cat" / "2.png").write_bytes(copied)
    torch.save(resnet18(num_classes=2).state_dict(), tmp_path / "weights.pth")
    folders = tmp_path / "weights.pth", tmp_path / "train", tmp_path / "test"
    defined, printed = run(monkeypatch, capsys, "torchvision_folder.py", *folders)
    assert defined["result"].scores.shape == (6, 2) and "6 train x 2 test" in printed
    assert defined["result"].top(test=0)["index"][0] == 2


def test_a_checkpoint_on_jsonl_finds_the_copy_of_a_test_text(tmp_path, monkeypatch, capsys):
    words = "[PAD] boil the rice with salt and stir soup".split()
    plain = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[PAD]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]")
    tokenizer.save_pretrained(tmp_path / "model")
    sizes = {"n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(words), **sizes)).save_pretrained(tmp_path / "model")
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(words[1:], size=size)) for size in (5, 8, 6, 7, 9, 5, 6, 7, 8, 9)]
    for name, some in {"train": texts, "test": texts[3:5]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in some))
    files = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    defined, printed = run(monkeypatch, capsys, "huggingface_jsonl.py", tmp_path / "model", *files)
    result = defined["result"]
    assert [result.top(test=test)["index"][0] for test in (0, 1)] == [3, 4] and "num_rows: 2" in printed
    assert len(result.select(0.2)) == 2


def test_the_shortest_examples_are_at_most_fifteen_lines():
    for name in ("torchvision_folder.py", "huggingface_jsonl.py"):
        code = [line for line in (EXAMPLES / name).read_text().splitlines() if line.strip()]
        assert len(code) <= 15
