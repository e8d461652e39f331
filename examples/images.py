"""Attribution on images, step by step in Python: which training digits helped the model on one test digit, which hurt?

python examples/images.py FOLDER
"""

import sys
from pathlib import Path

from sklearn.datasets import load_digits

import thresher

CLASSES = [str(digit) for digit in range(10)]


def prepare(out: Path, rows: slice) -> thresher.Examples:
    digits = load_digits()
    pixels = (digits.images[rows] * 15.9).astype("uint8")[..., None]
    labels = digits.target[rows]
    images = [(f"{rows.start + i}", image, str(y)) for i, (image, y) in enumerate(zip(pixels, labels, strict=True))]
    return thresher.prepare(images, out=out, classes=CLASSES)


def main(folder: Path) -> dict:
    pool, target = prepare(folder / "pool", slice(0, 600)), prepare(folder / "target", slice(600, 800))

    # An ensemble of small proxies, each from its own initialisation.
    config = thresher.TrainConfig.for_vision(epochs=20, batch_size=32, learning_rate=0.02)
    proxies = [
        thresher.train("mlp-32x1", pool, out=folder / f"proxy-{seed}", config=config, seed=seed) for seed in range(3)
    ]
    accuracy = proxies[0].evaluate(target)["accuracy"]

    # One pass over each set gives projected gradients; scores are inner products in their space.
    pool_features, target_features = (
        thresher.featurize(proxies, examples, out=folder / f"{name}-features", k=256)
        for name, examples in {"pool": pool, "target": target}.items()
    )
    scores = thresher.score(pool_features, {"digits": target_features}, out=folder / "scores")
    kept = thresher.select(scores, fraction=0.8, out=folder / "kept")

    # The same for one example: FAISS finds its most helpful and most harmful training digits.
    index = thresher.build_index(pool_features, out=folder / "index")
    neighbours = thresher.search(index, target_features, example=0, k=5)
    label_of = dict(zip(pool.table()["id"], pool.table()["domain"], strict=True))
    digit = target.table()["domain"][0]
    print(f"accuracy of a proxy: {accuracy:.3f}; kept {len(kept)} of {len(pool)}")
    print(f"a test digit {digit}; helped by", [label_of[hit["id"]] for hit in neighbours.helpful])
    print("hurt by", [label_of[hit["id"]] for hit in neighbours.harmful])
    return {"label": digit, "helpful": [label_of[hit["id"]] for hit in neighbours.helpful], "accuracy": accuracy}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example-images"))
