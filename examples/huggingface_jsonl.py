"""A Hugging Face checkpoint on JSONL: python examples/huggingface_jsonl.py CHECKPOINT TRAIN.jsonl TEST.jsonl"""

import sys

from datasets import load_dataset
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForLanguageModeling

import thresher

tokenizer, model = (kind.from_pretrained(sys.argv[1]) for kind in (AutoTokenizer, AutoModelForCausalLM))
files = {"train": sys.argv[2], "test": sys.argv[3]}
rows = load_dataset("json", data_files=files).map(lambda row: tokenizer(row["text"]), remove_columns="text")
collate = DataCollatorForLanguageModeling(tokenizer, mlm=False)
result = thresher.attribute(model, *(DataLoader(rows[side], 8, collate_fn=collate) for side in ("train", "test")))
print(result, result.top(test=0, k=3), rows["train"].select(result.select(0.2)), sep="\n")
