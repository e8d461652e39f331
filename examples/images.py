"""Attribution on images, step by step in Python: which training digits helped the model on one test digit, which hurt?

python examples/images.py FOLDER
"""

import sys
from pathlib import Path

from sklearn.datasets import load_digits

from thresher.attribution import build_index, featurize, open_features, score, search
from thresher.data.examples import open_examples
from thresher.data.images.image_examples import LabelledImage, prepare_images
from thresher.proxies import TrainConfig, evaluate, model_spec, open_model, train
from thresher.scores import open_scores
from thresher.selection.select import select

CLASSES = [str(digit) for digit in range(10)]


def prepare(out: Path, rows: slice):
    digits = load_digits()
    pixels = (digits.images[rows] * 15.9).astype("uint8")[..., None]
    images = [
        LabelledImage(f"{rows.start + i}", image, str(y))
        for i, (image, y) in enumerate(zip(pixels, digits.target[rows], strict=True))
    ]
    artifact = prepare_images(
        images, out=out, classes=CLASSES, config={"rows": str(rows)}, inputs={"digits": "scikit-learn"}
    )
    return open_examples(artifact.path)


def main(folder: Path) -> dict:
    pool, target = prepare(folder / "pool", slice(0, 600)), prepare(folder / "target", slice(600, 800))

    # An ensemble of small proxies, each from its own initialisation.
    spec = model_spec("mlp-32x1", pool)
    recipe = TrainConfig.for_vision(epochs=20, batch_size=32, learning_rate=0.02)
    models = [train(spec, pool, out=folder / f"proxy-{seed}", config=recipe, seed=seed) for seed in range(3)]
    accuracy = evaluate(open_model(models[0].path), target)["correct"].mean()

    # One pass over each set gives projected gradients; scores are inner products in their space.
    loaders = [(model.content_hash, lambda path=model.path: open_model(path)) for model in models]
    stores = {
        name: open_features(featurize(loaders, examples, out=folder / f"{name}-features", k=256).path)
        for name, examples in {"pool": pool, "target": target}.items()
    }
    scores = score(stores["pool"], {"digits": stores["target"]}, out=folder / "scores")
    kept = select("dsdm", open_scores(scores.path), fraction=0.8).kept

    # The same for one example: FAISS finds its most helpful and most harmful training digits.
    index = build_index(stores["pool"], out=folder / "index")
    found = search(index, stores["target"], example=0, k=5)
    labels = dict(zip(pool.ids, pool.labels, strict=True))
    print(f"accuracy of a proxy: {accuracy:.3f}; kept {len(kept)} of {len(pool)}")
    print(f"a test digit {CLASSES[target.labels[0]]}; helped by", [int(labels[id]) for id, _ in found.helpful])
    print("hurt by", [int(labels[id]) for id, _ in found.harmful])
    return {
        "label": int(target.labels[0]),
        "helpful": [int(labels[id]) for id, _ in found.helpful],
        "accuracy": float(accuracy),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example-images"))
