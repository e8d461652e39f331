"""Which tokens carried the scores that were read along a direction, of the most helpful and most harmful examples.

    score(z) = sum_t value_t,    value_t = q(z) mean_m d/de w_t f_t(theta_m + e x_m)

f_t is the output of the t-th prediction of z and w_t its share in z, over all windows of z. Of the ends of the ranking
alone: they are what a person reads, and of a whole pool the table would hold more than the pool itself.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int
from torch import Tensor, nn

from thresher.artifacts import Draft
from thresher.attribution.curvature.by_token import slopes_by_token
from thresher.attribution.scoring.along import AlongTask
from thresher.attribution.scoring.score_table import saved
from thresher.data.batches import Part
from thresher.data.examples import Examples, LabelledTextExamples, TokenExamples
from thresher.errors import InputError
from thresher.progress import SILENT, Progress


def check_per_token(pool: Examples, per_token: int) -> None:
    """Raise InputError where scores have no tokens that carried them, and for a negative number of examples."""
    if per_token < 0:
        raise InputError(f"per_token={per_token} is out of range; pass how many examples to show, or 0 for none")
    if per_token and (not isinstance(pool, TokenExamples) or isinstance(pool, LabelledTextExamples)):
        what = "texts with one label each" if isinstance(pool, TokenExamples) else "images"
        raise InputError(f"per_token={per_token} is of predicted tokens, and the pool is {what}; leave it out")


def write_tokens(
    draft: Draft,
    along: AlongTask,
    columns: Mapping[str, Float[np.ndarray, "n"]],
    per_token: int,
    *,
    scales: Float[np.ndarray, "n"] | None = None,
    progress: Progress = SILENT,
) -> None:
    """Write `tokens.parquet`, of the `per_token` highest and lowest scores of each target; nothing where it is 0.

    A row a predicted token: target, id, position (from 0, in the example), token (its number), text (null where the
    pool has no tokenizer), value (float32). Rows are in the order of the ranking, then of the text; values of an
    example sum to its score. `columns` are the scores, of which `scales` are a factor already.
    """
    if not per_token:
        return
    chosen = {name: _ends(scores, per_token) for name, scores in columns.items()}
    values = {name: np.zeros(0) for name in columns}
    places: dict[str, dict[str, np.ndarray]] = {}
    num_models = len(along.models)
    with progress.task("tokens", num_models * len(columns)) as advance:
        for m in range(num_models):
            model: list[nn.Module] = []  # loaded where anything is missing
            for number, (name, rows) in enumerate(chosen.items()):
                part = Part(along.pool, rows, along.batch_tokens)

                def made(m: int = m, number: int = number, part: Part = part, model: list = model) -> dict:
                    if not model:
                        model.append(along.models[m][1]().to(along.reading["device"]).eval())
                    direction = along.solved(draft, m).of_target(number)
                    return token_slopes(model[0], part, direction, along.reading["output"])

                read = saved(draft, f"tokens{m:03d}-{number:03d}-{per_token}", made)
                values[name] = read.pop("value") / num_models + (values[name] if m else 0.0)
                places[name] = read
                advance(1)
    tables = [_table(along.pool, name, chosen[name], places[name], values[name], scales) for name in columns]
    with draft.file("tokens.parquet") as file:
        pq.write_table(pa.concat_tables(tables), file, compression="zstd")


def token_slopes(
    model: nn.Module, part: Part, direction: Mapping[str, Tensor], output: str = "loss"
) -> dict[str, np.ndarray]:
    """What each predicted token of the examples carried: owner (in the part), position, token and value, each [p].

    They are in the order of the examples and of their tokens.
    """
    assert isinstance(part.examples, TokenExamples)
    starts, found = part.examples.window_starts, []
    for members in part.memberships():
        shares, batch = part.shares(members), part.batch(members)
        slopes = slopes_by_token(model, batch, direction, output).double().cpu().numpy()
        is_predicted = np.zeros(slopes.shape, dtype=bool)
        is_predicted[:, 1:] = batch["labels"][:, 1:].numpy() != -100
        window, place = np.nonzero(is_predicted)
        position = starts[part.numbers(members)][window] + place
        value = slopes[window, place] * shares.weights[window]
        found.append((shares.owners[window], position, batch["input_ids"].numpy()[window, place], value))
    owner, position, token, value = (np.concatenate(each) for each in zip(*found, strict=True))
    order = np.lexsort((position, owner))
    return {"owner": owner[order], "position": position[order], "token": token[order], "value": value[order]}


def _ends(scores: Float[np.ndarray, "n"], count: int) -> Int[np.ndarray, "m"]:
    """Rows of the `count` highest and as many lowest scores, the highest first, each once."""
    order = np.argsort(-scores, kind="stable")
    return order if 2 * count >= len(order) else np.concatenate([order[:count], order[-count:]])


def _table(
    pool: Examples,
    name: str,
    rows: Int[np.ndarray, "m"],
    places: Mapping[str, np.ndarray],
    values: Float[np.ndarray, "p"],
    scales: Float[np.ndarray, "n"] | None,
) -> pa.Table:
    owners, tokens = rows[places["owner"]], places["token"].astype(np.int32)
    values = values if scales is None else values * scales[owners]
    return pa.table(
        {
            "target": pa.array([name] * len(owners), pa.string()),
            "id": pa.array([pool.ids[row] for row in owners.tolist()], pa.string()),
            "position": places["position"].astype(np.int32),
            "token": tokens,
            "text": pa.array(_texts(pool, tokens), pa.string()),
            "value": values.astype(np.float32),
        }
    )


def _texts(pool: Examples, tokens: Int[np.ndarray, "p"]) -> list[str | None]:
    assert isinstance(pool, TokenExamples)
    if "tokenizer.json" not in pool.artifact.meta["files"]:
        return [None] * len(tokens)
    text_of = {token: pool.tokenizer.decode([token], skip_special_tokens=False) for token in np.unique(tokens).tolist()}
    return [text_of[token] for token in tokens.tolist()]
