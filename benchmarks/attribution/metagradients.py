"""Metagradients and AdamW-influence against real retrainings that leave documents out, and what they cost.

    python -m benchmarks.attribution.metagradients [--only fine-tuning ...] [--json FILE]

fine-tuning    GPT-2 of 0.1 M parameters, trained on a pool of 290,000 tokens, trained on about 240 further documents
               with AdamW's eps_root at 1e-6; the weights of the whole run
scratch-*      the same model from its initialisation on those documents, 4 epochs; the weights of the last epoch, and
               of the whole run; eps_root, batch size and window as the name says

Each retraining sets the weights of a random share of the documents (1 % in fine-tuning, 5 % from scratch) to 0 in the
steps of the window, from the same state and with the same batches, so what differs is the documents alone. LDS is over
target documents, with a 95 % interval over subsets and targets. `first order` is the product of the gradients at the
end, minus the target's times the example's, which a metagradient has to beat. Seconds are of the processor.

Everything is kept under runs/metagradients: a killed run goes on where it was.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.attribution.grounds import asked, keep, text_corpus
from benchmarks.attribution.peers.common import ROOT
from benchmarks.command import thresher
from thresher.attribution import (
    Slopes,
    Window,
    keep_states,
    lds_table,
    outcome_gradients,
    predict_outputs,
    smoothness_of,
    state_file,
    unroll,
)
from thresher.data import open_examples
from thresher.proxies import TrainConfig, evaluate, model_spec, train
from thresher.seeds import numpy_rng
from thresher.studies import replay_of

RUNS, TEXT = ROOT / "runs" / "metagradients", ROOT / "runs" / "lds" / "text"
NUM_TARGETS = 4
SIZE = "0.1M"
SMOOTH = {"eps": 1e-6, "betas": (0.95, 0.975)}
CURVATURES = {"metagradient": "hessian", "adamw-influence": "gauss-newton", "adamw-influence, fisher": "fisher"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    config: TrainConfig
    is_pretrained: bool = False
    window: float = 1.0
    """Share of the steps, at the end."""
    left_out: float = 0.05
    num_subsets: int = 50


def scratch(eps_root: float, batch_size: int, window: float) -> Setting:
    config = TrainConfig.for_language(
        epochs=4.0, batch_size=batch_size, learning_rate=4e-3, eps_root=eps_root, precision="float32", **SMOOTH
    )
    return Setting(config=config, window=window)


SETTINGS = {
    "fine-tuning": Setting(
        config=TrainConfig.for_language(
            epochs=2.0, batch_size=4, learning_rate=5e-4, eps_root=1e-6, precision="float32", **SMOOTH
        ),
        is_pretrained=True,
        left_out=0.01,
        num_subsets=60,
    ),
    "scratch-1e-6-16-last": scratch(1e-6, 16, 0.25),
    "scratch-1e-8-16-last": scratch(1e-8, 16, 0.25),
    "scratch-0-16-last": scratch(0.0, 16, 0.25),
    "scratch-1e-6-32-last": scratch(1e-6, 32, 0.25),
    "scratch-1e-6-16-whole": scratch(1e-6, 16, 1.0),
    "scratch-0-16-whole": scratch(0.0, 16, 1.0),
}


def main() -> None:
    arguments, results = asked(__doc__, SETTINGS)
    for name in arguments.only:
        results[name] = measure(name, SETTINGS[name], arguments.data) | {"date": time.strftime("%Y-%m-%d")}
        print(json.dumps(results[name], indent=1), flush=True)
        keep(arguments, results)


def measure(name: str, setting: Setting, data: Path) -> dict:
    pool, target = prepared(data)
    folder = RUNS / name
    folder.mkdir(parents=True, exist_ok=True)
    spec = model_spec(str(base_model()), pool) if setting.is_pretrained else scratch_spec(pool)
    model = train(spec, pool, out=folder / "model", config=setting.config, seed=0, device="cpu")
    replay = replay_of(folder / "model", pool, device="cpu")
    window = Window.of(replay.num_steps, max(1, round(setting.window * replay.num_steps)))
    seconds = {"training": kept(folder / "training", lambda: timed(lambda: keep_states(replay, window, folder)))}
    keep_states(replay, window, folder)
    facts = {"num_pool": len(pool), "num_steps": replay.num_steps, "window": window.steps}
    facts |= {"difference": replay.difference(), "final_train_loss": model.facts["final_train_loss"]}
    facts["metasmoothness"] = float(kept(folder / "smoothness", lambda: smoothness_of(replay, window, folder)))
    rows = np.flatnonzero(target.lengths() >= 40)[:NUM_TARGETS]
    replay.restore(state_file(folder, replay.num_steps))
    gradients = outcome_gradients(replay, target, torch.eye(len(target)).double()[:, rows])
    scores = {"first order": kept(folder / "first-order", lambda: first_order(replay, pool, gradients))}
    for label, kind in CURVATURES.items():
        scores[label] = kept(folder / kind, lambda kind=kind: -unroll_anew(replay, gradients, window, folder, kind))
        one = {key: value.mean(dim=0, keepdim=True) for key, value in gradients.items()}
        run = partial(unroll_anew, replay, one, window, folder, kind)
        seconds[f"{label}, one target"] = kept(folder / f"{kind}-seconds", lambda run=run: timed(run))
    subsets = np.stack(
        [numpy_rng(0, "left out", s).random(len(pool)).argsort() for s in range(setting.num_subsets)]
    ) >= max(1, round(setting.left_out * len(pool)))
    losses = np.stack(
        [
            kept(folder / f"run-{s:03d}", lambda s=s: retrained(replay, window, folder, subsets[s], target))
            for s in range(len(subsets))
        ]
    )
    outputs = -losses[:, None, rows]
    predicted = {label: predict_outputs([(0, values.T)], subsets) for label, values in scores.items()}
    table = lds_table(predicted, outputs, num_resamples=500)
    mean = {label: values.mean(axis=1, keepdims=True) for label, values in predicted.items()}
    averaged = lds_table(mean, outputs.mean(axis=2, keepdims=True), num_resamples=500)
    facts |= {"num_subsets": len(subsets), "left_out": int((~subsets[0]).sum()), "num_targets": len(rows)}
    lds = {label: asdict(row["lds"]) for label, row in table.items()}
    whole = {label: asdict(row["lds"]) for label, row in averaged.items()}
    times = {label: round(float(value), 2) for label, value in seconds.items()}
    config = setting.config.record
    return facts | {"config": config, "lds": lds, "lds of the mean target": whole, "processor seconds": times}


def prepared(data: Path):
    """About 240 documents to train on, and some to judge by, read with the tokenizer of the text setting's pool."""
    if not (TEXT / "target").exists():
        TEXT.mkdir(parents=True, exist_ok=True)
        text_corpus(data, TEXT)
    for name, part in {"pool": ("0.3", "0.3015"), "target": ("0.7", "0.7003")}.items():
        if not (RUNS / name).exists():
            options = ["--data", str(TEXT / "pieces.jsonl"), "--id", "id", "--domain", "domain", "--group", "group"]
            options += ["--sequence-length", "256", "--tokenizer", str(TEXT / "pool-tokenizer"), "--quiet"]
            if thresher(["prepare", *options, "--part", *part, "--out", str(RUNS / name)]):
                raise SystemExit(2)
    return open_examples(RUNS / "pool"), open_examples(RUNS / "target")


def scratch_spec(pool: Any) -> dict[str, Any]:
    """A new model of the size, in the parametrisation that the results of 2026-11-28 are of."""
    return model_spec(SIZE, pool, parametrization="standard")


def base_model() -> Path:
    """The proxy that is trained further: two epochs of the text setting's pool."""
    pool = open_examples(TEXT / "pool")
    config = TrainConfig.for_language(epochs=2.0, precision="float32")
    return train(scratch_spec(pool), pool, out=RUNS / "base", config=config, seed=0, device="cpu").path


def retrained(replay, window: Window, folder: Path, held: np.ndarray, target) -> np.ndarray:
    """The loss of each target document after the window is trained again with the weights of `held`."""
    replay.restore(state_file(folder, window.start))
    replay.weights = torch.from_numpy(held.astype(np.float32))
    replay.run()
    replay.weights = torch.ones(len(held))
    losses = evaluate(replay.model, target, device="cpu")["loss"]
    replay.model.train()
    return losses


def first_order(replay, pool, gradients) -> np.ndarray:
    """The slope of each document's loss along each target's gradient, at the end."""
    # Every document is one window here.
    batches = [pool.batch(rows) for rows in np.array_split(np.arange(len(pool)), 1 + len(pool) // 16)]
    with Slopes(replay.model, pool.batch(np.arange(2)), gradients, output="loss") as reader:
        slopes = torch.cat([reader.read(batch)[0] for batch in batches]).T.double()
    replay.model.train()
    return slopes.numpy()


def unroll_anew(replay, gradients, window: Window, folder: Path, kind: str) -> np.ndarray:
    (folder / "cotangents.safetensors").unlink(missing_ok=True)
    slopes = unroll(replay, gradients, window, folder, curvature=kind).numpy()
    (folder / "cotangents.safetensors").unlink()
    return slopes


def timed(work: Callable) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def kept(file: Path, make: Callable) -> np.ndarray:
    """What `make` gives, made once."""
    file = file.with_suffix(".npy")
    if not file.exists():
        made = np.asarray(make())
        np.save(file.with_suffix(".tmp.npy"), made)
        os.replace(file.with_suffix(".tmp.npy"), file)
    return np.load(file)


if __name__ == "__main__":
    main()
