"""A small text corpus on disk, of three domains made of different words."""

import json
import random
from pathlib import Path

WORDS = {
    "cooking": "boil the rice with salt and stir the soup then bake the bread in a hot oven with butter and flour",
    "sailing": "the wind fills the sail and the boat turns to the harbour while the crew pulls the rope over the deck",
    "numbers": "one two three four five six seven eight nine ten eleven twelve plus minus times equals sum product",
}


def write_corpus(path: Path, num_documents: int = 60) -> Path:
    """JSONL with columns id, text, source: documents of three domains, made of different words."""
    draw = random.Random(0)
    with open(path, "w", encoding="utf-8") as file:
        for number in range(num_documents):
            domain = list(WORDS)[number % 3]
            text = " ".join(draw.choices(WORDS[domain].split(), k=40))
            file.write(json.dumps({"id": f"{domain}-{number}", "text": text, "source": domain}) + "\n")
    return path
