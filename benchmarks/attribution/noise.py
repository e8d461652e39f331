"""Do scores find wrong labels? Area under the ROC curve beside the loss and cleanlab's out-of-fold confidence.

    python -m benchmarks.attribution.noise [--only cifar-aggre ...] [--quick]
    python -m benchmarks.attribution.noise --seeds 0 1 --json benchmarks/results/label-noise.json

A low score is a suspicion. Of each data set and model: proxies on random halves of the pool (`--proxies`, pairs of
complementary halves), as `thresher run` trains them; scores for a clean target and self-influence at their defaults;
the loss under all proxies, and under those that did not see the example; out of five folds by models of the same kind,
the confidence in the given label and its margin to the likeliest other one (confident learning, arXiv 1911.00068);
out of five folds of a linear model on cheap features (TF-IDF, pixels). Everything made is kept under --work, so a
killed run goes on where it was.
"""

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.attribution.noise_data import FOLDS, Source, build, tfidf_out_of_fold
from benchmarks.attribution.peers.common import ROOT
from thresher.attribution import featurize, open_features, score, self_influence
from thresher.data import Examples, ImageExamples, open_examples
from thresher.outputs import logits_of
from thresher.proxies import TrainConfig, loaders_of, model_spec, train
from thresher.scores import read_scores

MODELS = "benchmarks.attribution.models"
RESAMPLES = 500


@dataclass(frozen=True, kw_only=True)
class Setting:
    source: Source
    models: tuple[str, ...]
    recipe: dict = field(default_factory=dict)
    views: tuple[tuple[str, ...], ...] = ((),)
    """What features are averaged over; scores are reported for each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(SETTINGS)[:-1], choices=list(SETTINGS))
    parser.add_argument("--models", type=int, nargs="+", default=[0, 1], help="which of a setting's models")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--proxies", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="800 texts, the smaller model, two proxies")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "noise")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.only, options.models, options.proxies = ["quick"], [0], 2
    results = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    for seed in options.seeds:
        for name in options.only:
            for model in (SETTINGS[name].models[number] for number in options.models):
                key = f"{name} {model} {seed}"
                results[key] = measure(name, model, seed, options)
                print(key, json.dumps({k: v for k, v in results[key].items() if k != "auc"}))
                for scorer, found in results[key]["auc"].items():
                    print(f"  {scorer:34} {found[0]:.3f} [{found[1]:.3f}, {found[2]:.3f}]", flush=True)
                if options.json:
                    options.json.write_text(json.dumps(results, indent=1) + "\n")


def measure(name: str, model: str, seed: int, options: argparse.Namespace) -> dict:
    """The area under the curve of every scorer, with its interval, and what was measured."""
    setting, start = SETTINGS[name], time.perf_counter()
    folder = options.work / f"{name}-{seed}"
    build(setting.source, options.data, folder, seed)
    pool, target = open_examples(folder / "pool"), open_examples(folder / "target")
    truth = dict(np.load(folder / "truth.npz"))
    rows = _positions(pool, truth["id"])
    wrong = (truth["given"] != truth["true"])[rows]
    bench = Bench(setting, model, pool, target, folder / model.rpartition(":")[2], seed)
    suspicion = bench.out_of_fold() | bench.by_proxies(options.proxies)
    suspicion |= {"out of fold, linear on features": _linear(pool, truth, rows)}
    facts = {"num_pool": len(pool), "num_wrong": int(wrong.sum()), "num_target": len(target), "seed": seed}
    facts |= {"proxies": options.proxies, "parameters": bench.num_parameters, "target_accuracy": bench.accuracy}
    facts |= {"seconds": round(time.perf_counter() - start), "date": time.strftime("%Y-%m-%d")}
    return facts | {"auc": {scorer: _auc(wrong, values) for scorer, values in suspicion.items()}}


class Bench:
    """One data set and kind of model: everything that is trained and scored, made once and kept in `folder`."""

    def __init__(self, setting: Setting, model: str, pool: Examples, target: Examples, folder: Path, seed: int):
        self.setting, self.model, self.pool, self.target = setting, model, pool, target
        self.folder, self.seed = folder, seed
        self.num_parameters, self.accuracy = 0, 0.0

    def out_of_fold(self) -> dict[str, np.ndarray]:
        """Confidence in the given label and its margin over the likeliest other one, by models that did not see it."""
        confidence, margin = np.zeros(len(self.pool)), np.zeros(len(self.pool))
        folds = KFold(FOLDS, shuffle=True, random_state=self.seed).split(np.arange(len(self.pool)))
        for number, (seen, held) in enumerate(folds):
            model = self._model(f"fold-{number}", seen, self.seed + number)
            own, other, _ = predictions(model, self.pool, held)
            confidence[held], margin[held] = own, own - other
        return {"out of fold, confidence": -confidence, "out of fold, normalised margin": -margin}

    def by_proxies(self, count: int) -> dict[str, np.ndarray]:
        paths, out, losses, correct = [], [], [], []
        for number in range(count):
            order = np.random.default_rng([self.seed, number // 2]).permutation(len(self.pool))
            seen = np.sort(order[number % 2 :: 2])
            model = self._model(f"proxy-{number}", seen, self.seed + number)
            paths.append(self.folder / f"proxy-{number}")
            own, *_ = predictions(model, self.pool, np.arange(len(self.pool)))
            losses.append(-np.log(np.maximum(own, 1e-12)))
            out.append(~np.isin(np.arange(len(self.pool)), seen))
            correct.append(predictions(model, self.target, np.arange(len(self.target)))[2].mean())
        self.accuracy = round(float(np.mean(correct)), 3)
        losses, out = np.stack(losses), np.stack(out)
        made = {
            "loss": losses.mean(axis=0),
            "loss, proxies that did not see it": (losses * out).sum(axis=0) / out.sum(axis=0),
        }
        for views in self.setting.views:
            made |= self._scores(paths, views)
        return made

    def _scores(self, paths: list[Path], views: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Scores for the clean target and for itself, as `thresher score` gives them."""
        loaders, named = (
            loaders_of([str(path) for path in paths], self.pool, self.target),
            "-".join([str(len(paths)), *views]),
        )
        stores = {
            name: open_features(
                featurize(loaders, own, out=self.folder / f"{named}-{name}", views=views, device="cpu").path
            )
            for name, own in (("pool", self.pool), ("target", self.target))
        }
        targets, suffix = {"clean": stores["target"]}, f", {' '.join(views)}" if views else ""
        for_labels = score(stores["pool"], targets, out=self.folder / f"{named}-labels", goal="labels")
        plain = score(stores["pool"], targets, out=self.folder / f"{named}-selection")
        own = self_influence(stores["pool"], out=self.folder / f"{named}-self")
        doubt = 1 - np.mean([stores["pool"].outputs(m)["confidence"] for m in range(len(paths))], axis=0)
        return {
            f"target scores{suffix}": -read_scores(for_labels, "clean"),
            f"target scores, goal selection{suffix}": -read_scores(plain, "clean"),
            f"self-influence{suffix}": read_scores(own, "self_influence"),
            f"doubt (1 - p){suffix}": doubt,
        }

    def _model(self, name: str, seen: np.ndarray, seed: int) -> torch.nn.Module:
        spec, out = model_spec(self.model, self.pool), self.folder / name
        recipe = TrainConfig.for_task(spec["task"], **self.setting.recipe)
        made = train(spec, self.pool, out=out, config=recipe, seed=seed, indices=seen, device="cpu")
        self.num_parameters = made.facts["num_parameters"]["total"]
        return loaders_of([str(out)], self.pool)[0][1]()


def predictions(model: torch.nn.Module, examples: Examples, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of each example: p of its label, p of the likeliest other one, whether the label is the likeliest, [m] each.

    Text: of the first token of its class that is predicted.
    """
    found = []
    with torch.no_grad():
        for start in range(0, len(rows), 250):
            batch = examples.batch(rows[start : start + 250])
            logits, labels = logits_of(model.eval(), batch), batch["labels"]
            if logits.ndim == 3:
                first = (labels != -100).int().argmax(dim=1)
                each = torch.arange(len(labels))
                logits, labels = logits[each, first - 1], labels[each, first]
            p = logits.float().softmax(dim=1)
            own = p.gather(1, labels[:, None])[:, 0]
            other = p.scatter(1, labels[:, None], -1.0).amax(dim=1)
            found.append(torch.stack([own, other, (own >= other).float()]))
    return tuple(torch.cat(found, dim=1).double().numpy())


def _linear(pool: Examples, truth: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Out of fold, by logistic regression on TF-IDF or on the principal components of pixels."""
    labels = truth["given"][rows]
    if "text" in truth:
        found = tfidf_out_of_fold([str(truth["text"][row]) for row in rows], labels)
    else:
        assert isinstance(pool, ImageExamples)
        pixels = np.asarray(pool.images).reshape(len(pool), -1) / 255.0
        model, components = LogisticRegression(max_iter=200), PCA(64).fit_transform(pixels)
        found = np.asarray(cross_val_predict(model, components, labels, cv=FOLDS, method="predict_proba"))
    return -found[np.arange(len(labels)), labels]


def _positions(pool: Examples, ids: np.ndarray) -> np.ndarray:
    """Where each example of the pool stands in the truth: rows that could not be prepared are not in the pool."""
    places = {str(id): place for place, id in enumerate(ids)}
    return np.array([places[id] for id in pool.ids])


def _auc(wrong: np.ndarray, suspicion: np.ndarray) -> list[float]:
    """With a 95 % bootstrap interval over examples."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(wrong), size=len(wrong)) for _ in range(RESAMPLES)]
    drawn = [roc_auc_score(wrong[draw], suspicion[draw]) for draw in draws]
    return [round(float(value), 4) for value in (roc_auc_score(wrong, suspicion), *np.quantile(drawn, [0.025, 0.975]))]


OTHER = ("books", "law", "newswire", "techdocs")
HARD = ("forum", "web", "reviews", "newsgroups")


def _images(kind: str) -> Setting:
    return Setting(
        source=Source(kind=kind, pool=3000, target=1000, pixels=16),
        models=(f"{MODELS}:resnet9_8", f"{MODELS}:resnet9_16"),
        recipe={"epochs": 10, "learning_rate": 0.01, "batch_size": 64},
        views=((), ("flip",)),
    )


def _texts(kind: str, domains: tuple[str, ...], characters: int, num: int = 3000) -> Setting:
    return Setting(
        source=Source(kind=kind, pool=num, target=num // 3, domains=domains, characters=characters),
        models=(f"{MODELS}:bag_32", f"{MODELS}:bag_96"),
        recipe={"epochs": 15, "learning_rate": 0.005, "batch_size": 32, "weight_decay": 1.0},
    )


SETTINGS = {
    "cifar-aggre": _images("noisy_aggre"),
    "cifar-worse": _images("noisy_worse"),
    "text-random": _texts("random", HARD, 70),
    "text-confusion": _texts("confusion", HARD, 70),
    # Classes that no rule was found on: a check of the rules.
    "text-other": _texts("random", OTHER, 30),
    "quick": _texts("random", OTHER, 60, num=800),
}


if __name__ == "__main__":
    main()
