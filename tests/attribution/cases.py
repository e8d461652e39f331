"""Small pools, models and synthetic feature stores that the tests of attribution share."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from torch import nn

from thresher.artifacts import build
from thresher.attribution.features.packing import pack
from thresher.attribution.features.store import FeatureStore
from thresher.data.examples import ImageExamples, TokenExamples
from thresher.data.token_files import save_rows
from thresher.outputs import logits_of, outputs_of


def write_array(draft, name, array):
    with draft.file(name) as path, open(path, "wb") as file:
        np.save(file, array)


def write_ids(draft, ids):
    with draft.file("examples.parquet") as path:
        pq.write_table(pa.table({"id": ids, "domain": [f"d{i % 2}" for i in range(len(ids))]}), path)


def image_examples(path, images, labels, prefix="z"):
    """uint8 images [n, h, w, c] and labels [n] as a prepared pool."""

    def write(draft):
        write_array(draft, "images.npy", images)
        write_array(draft, "labels.npy", labels.astype(np.int64))
        write_ids(draft, [f"{prefix}{i}" for i in range(len(labels))])
        return {"num_examples": len(labels), "classes": [str(c) for c in range(int(labels.max()) + 1)]}

    config = {"images": images.tobytes().hex()[:64], "labels": labels.tolist(), "prefix": prefix}
    return ImageExamples(build(path, kind="image-examples", config=config, seed=0, inputs={}, write=write))


def digits(path, rows, classes=10, prefix="z", flipped=()):
    """Rows of scikit-learn's digits among the first `classes` classes, those `flipped` labelled as the next class."""
    images, labels = load_digits(return_X_y=True)
    keep = np.flatnonzero(labels < classes)[rows]
    chosen = labels[keep]
    chosen[list(flipped)] = (chosen[list(flipped)] + 1) % classes
    return image_examples(path, (images[keep].reshape(-1, 8, 8, 1) * 15.9).astype(np.uint8), chosen, prefix)


def token_examples(path, lengths, vocabulary=19, width=12, seed=0, prefix="z", ids=None, window=None):
    """Random token sequences of the given lengths, up to `width`, read in windows of `window` (None: `width`)."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, vocabulary, size=(len(lengths), width)).astype(np.uint16)
    spans = np.stack([lengths, np.ones(len(lengths)), lengths], axis=1).astype(np.int32)

    def write(draft):
        write_ids(draft, ids or [f"{prefix}{i}" for i in range(len(lengths))])
        return save_rows(draft, tokens, spans, vocab_size=vocabulary, sequence_length=window)

    config = {"lengths": np.asarray(lengths).tolist(), "seed": seed, "prefix": prefix, "window": window}
    return TokenExamples(build(path, kind="text-examples", config=config, seed=seed, inputs={}, write=write))


def mlp(seed=0, classes=10, hidden=9):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def fitted(model, num, steps, rate):
    """`model`, in its own precision, after some steps of Adam on the first `num` digits."""
    images, labels = load_digits(return_X_y=True)
    dtype = next(model.parameters()).dtype
    inputs, labels = torch.from_numpy(images[:num] / 8 - 1).to(dtype), torch.from_numpy(labels[:num])
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimiser.step()
    return model


def checkpoints(make, num):
    """(hash, loader) of `num` models that differ by their seed."""
    return [(f"hash{seed}", lambda seed=seed: make(seed)) for seed in range(num)]


def synthetic_store(path, n, k, num_checkpoints=1, *, seed=0, shard_size=64, prefix="z", models="m", output="margin"):
    """A feature store of Gaussian features, made shard by shard."""

    def shard(checkpoint, start):
        rng = np.random.default_rng([seed, checkpoint, start])
        rows = min(shard_size, n - start)
        return rng.standard_normal((rows, k)).astype(np.float32), rng.uniform(0.1, 0.9, rows).astype(np.float32)

    name = f"{prefix}{n}.{seed}"
    return _write_store(path, shard, n, k, num_checkpoints, shard_size, prefix, models, name, output)


def given_store(path, features, shard_size=64):
    """A feature store of one checkpoint with these features [n, k]; confidence is what the first one makes it."""

    def shard(_, start):
        rows = features[start : start + shard_size]
        return rows, (0.5 + 0.4 * np.tanh(rows[:, 0])).astype(np.float32)

    return _write_store(path, shard, *features.shape, 1, shard_size, "z", "m", path.name)


def _write_store(path, shard, n, k, num_checkpoints, shard_size, prefix, models, name, output="margin"):
    def write(draft):
        schema = pa.schema([("id", pa.string()), ("domain", pa.string())])
        with draft.file("examples.parquet") as file, pq.ParquetWriter(file, schema) as writer:
            for index, start in enumerate(range(0, n, shard_size)):
                ids = [f"{prefix}{i}" for i in range(start, min(n, start + shard_size))]
                writer.write_table(pa.table([ids, ["d"] * len(ids)], schema=schema))
                for checkpoint in range(num_checkpoints):
                    features, p = shard(checkpoint, start)
                    outputs = {"margin": np.log(p / (1 - p)), "loss": -np.log(p), "confidence": p}
                    with draft.file(f"checkpoint{checkpoint:03d}-shard{index:05d}.safetensors") as made:
                        save_file(pack(features, "float16") | outputs, made)
        facts = {"num_examples": n, "num_checkpoints": num_checkpoints, "k": k, "shard_size": shard_size}
        return facts | {"blocks": {"all": (0, k)}}

    config = {"projection": "normal", "k": k, "output": output, "parameters": None, "shard_size": shard_size}
    inputs = {"examples": name} | {f"model {m}": f"{models}{m}" for m in range(num_checkpoints)}
    return FeatureStore(build(path, kind="features", config=config, seed=0, inputs=inputs, write=write))


def dense(store, checkpoint):
    """All features of one checkpoint, [n, k] in float64."""
    return np.concatenate([block for _, block in store.blocks(checkpoint)]).astype(np.float64)


def dense_scores(pool, target, damping, q="sqrt"):
    """The score of every pair [n, t] by explicit inverses; `damping` in multiples of mean(diag K)."""
    total = 0
    for m in range(pool.num_checkpoints):
        phi, other = dense(pool, m), dense(target, m)
        kernel = phi.T @ phi
        kernel = kernel + damping * np.diag(kernel).mean() * np.eye(pool.k)
        total = total + phi @ np.linalg.inv(kernel) @ other.T / pool.num_checkpoints
    weights = 1 - np.mean([pool.outputs(m)["confidence"] for m in range(pool.num_checkpoints)], axis=0)
    return total * {"sqrt": np.sqrt(weights), "mean": weights, "none": np.ones(pool.num_examples)}[q][:, None]


def exact_gradients(model, batch):
    """[b, P] by one backward pass an example, in `named_parameters()` order."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rows = []
    for i in range(len(batch["labels"])):
        single = {name: value[[i]] for name, value in batch.items()}
        margin = outputs_of(logits_of(model, single), single["labels"]).margin.sum()
        gradients = torch.autograd.grad(margin, parameters, materialize_grads=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return torch.stack(rows)
