"""`thresher select`: keep the best of the pool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thresher.choices import Format
from thresher.cli.command import Command, made, named_paths
from thresher.errors import InputError
from thresher.idle import Idle
from thresher.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Select(Command):
    """Keep the pool's most useful examples for the targets, by any of many methods or a line of them; make controls.

    The artefact has kept.parquet and dropped.parquet (id, position, domain, score, rank, reason); positions are indices
    for `datasets.Dataset.select`. docs/selectors.md has every method, what it needs and its formula.
    """

    usage = """
    thresher select --scores scores --pool pool --fraction 0.2 --out selection
    thresher select --method 'minhash | dsdm:0.2' --scores scores --pool pool --out selection --export subset
    thresher select --method random --fraction 0.1 --pool pool --out random --export shards --format mds
    thresher select --method bm25 --pool pool --targets squad=target --tokens 1_000_000 --out control
    """

    idle = Idle(needs=dict.fromkeys(("format", "rows_per_shard", "push_to", "compare"), ("export",)))

    out: Path
    method: str = "dsdm"
    """A method, or several in a line, filters before rankings: "minhash | dsdm:0.2,per_domain=0.3".
    Rank: dsdm, dsdm_diverse, gradient_cosine, gradient_norm, embedding, bm25, classifier, dsir, loss, d4, random,
    bottom. Filter: exact, minhash, semdedup."""
    scores: Path | None = None
    """Scores, from `thresher score`."""
    pool: Path | None = None
    """The prepared pool: for texts, token counts, embeddings and losses."""
    targets: tuple[str, ...] = ()
    """The targets to select for, each normalised and then averaged: names among --scores, or NAME=PATH of prepared
    targets for methods that look at them; none: all of --scores."""
    models: tuple[str, ...] = ()
    """Proxies, for embeddings, losses, and features or scores that are not given."""
    features: Path | None = None
    """The pool's features, from `thresher featurize`."""
    target_features: tuple[str, ...] = ()
    """NAME=PATH of the targets' features."""
    embeddings: str | None = None
    """Embeddings of texts in place of the models': column:NAME, lists of numbers in the source's rows, or
    sentence-transformers:MODEL."""
    fraction: float | None = None
    """The share of the pool's tokens (or images) to keep, in (0, 1]: in order, until it is reached."""
    count: int | None = None
    """Or how many examples."""
    tokens: int | None = None
    """Or how many tokens: in order, until they are reached; the last document is kept whole."""
    weights: tuple[float, ...] = ()
    """A weight for each of --targets; none: equal."""
    evidence: Path | None = None
    """A folder for what had to be made, which selections and scores can share; none: beside --out."""
    export: Path | None = None
    """A folder for what is kept, to hand on, with a card (card.md, card.html) that says what it is."""
    format: Format = "parquet"
    """With --export: parquet, jsonl, jsonl.zst, mds (whole documents: the source's own columns, the text as it was
    written, and id, score and rank, called thresher_... where the source has such a column), megatron (their
    tokens, as kept.bin and kept.idx), or ids."""
    rows_per_shard: int = 100_000
    """With --export: the most examples in one file."""
    push_to: str | None = None
    """With --export as parquet or jsonl: OWNER/NAME, the data set of the Hugging Face hub that it is uploaded as, with
    its card; a new one is private."""
    compare: tuple[str, ...] = ()
    """With --export: NAME=SELECTION of others of the same pool, for the overlap on the card."""
    seed: int = 0
    device: str = "auto"

    def check(self) -> None:
        """Refuse also methods that there are not, and weights without targets."""
        super().check()
        from thresher.selection.methods import check_embeddings_for, stages_of

        stages_of(self.method)
        if self.embeddings is not None:
            check_embeddings_for([self.method], self.embeddings)
        names = [target.partition("=")[0] for target in self.targets]
        if doubled := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"--targets has {doubled!r} twice; give each target once, and with --weights one for each")
        if self.weights and len(self.weights) != len(self.targets):
            raise InputError(
                f"{len(self.weights)} --weights for {len(self.targets)} --targets; give one for each, or none"
            )
        if self.push_to is not None:
            from thresher.integrations.hub import check_repository

            check_repository(self.push_to)
            if self.format not in ("parquet", "jsonl", "jsonl.zst"):
                raise InputError("--push-to uploads an export of documents; pass --export FOLDER, as parquet or jsonl")

    def run(self, progress: Progress) -> dict[str, Any]:
        """Select, and export what was kept where that is asked for."""
        from thresher.api.selecting import select, sources_of
        from thresher.studies.selections.export import check_export
        from thresher.workspace import Workspace, evidence_folder

        paths = named_paths(prepared, "--targets") if (prepared := [t for t in self.targets if "=" in t]) else {}
        stores = named_paths(self.target_features, "--target-features") if self.target_features else {}
        names = tuple(target.partition("=")[0] for target in self.targets)
        given = {
            "method": self.method,
            "targets": {name: paths.get(name) for name in names},
            "weights": dict(zip(names, self.weights, strict=True)) if self.weights else None,
            "pool": self.pool,
            "models": self.models,
            "features": self.features,
            "target_features": stores,
            "embeddings": self.embeddings,
            "seed": self.seed,
        }
        workspace = Workspace(evidence_folder(self.out, self.evidence), self.device, progress)
        sources = sources_of(self.scores, workspace=workspace, **given)
        if self.export is not None:
            check_export(self.format, self.rows_per_shard, sources.pool)
        given |= {"fraction": self.fraction, "count": self.count, "tokens": self.tokens, "evidence": self.evidence}
        selection = select(self.scores, out=self.out, device=self.device, progress=progress, **given)
        result = made(selection.artifact)
        if self.export is not None:
            result |= {"export": self._export(sources, self.export)}
        if self.push_to is not None:
            from thresher.integrations.hub import push_to_hub

            result |= {"pushed": push_to_hub(result["export"], self.push_to)}
        return result

    def then(self, result: Mapping[str, Any]) -> Sequence[object] | None:
        """The command that comes next."""
        from thresher.cli.following import after_selecting

        return after_selecting(self.pool, self.scores, self.out)

    def _export(self, sources: Any, out: Path) -> str:
        from thresher.scores import check_same_rows
        from thresher.selection.selection import open_selection
        from thresher.studies.selections.card import card_of
        from thresher.studies.selections.export import export

        selection = open_selection(self.out)
        paths = named_paths(self.compare, "--compare") if self.compare else {}
        others = {name: open_selection(path) for name, path in paths.items()}
        size = selection.artifact.facts["num_unique"] + selection.dropped.num_rows
        for name, other in others.items():
            if other.artifact.facts["num_unique"] + other.dropped.num_rows != size:
                raise InputError(f"--compare {name} selects from another pool; give selections of this one")
            its, own = (one.artifact.facts.get("numbered_by") for one in (other, selection))
            check_same_rows(f"--compare {name}", its, str(self.out), own)
        rows = {
            "ids": "Ids of examples, one a line, in the order of the ranking.",
            "megatron": "The tokens of whole documents, an end token after each, in the order of the ranking; "
            "tokenizer.json made them.",
        }.get(
            self.format,
            "Each row is a whole document with the source's own columns, its text as it was written, in the order "
            "of the ranking; `id`, `score` and `rank` are called `thresher_...` where the source has such a column.",
        )
        exported = export(
            selection,
            sources.pool,
            out=out,
            format=self.format,
            rows_per_shard=self.rows_per_shard,
            card=card_of(selection, sources, others, rows),
            compared=others,
        )
        return str(exported.path)

    def show(self, result: Mapping[str, Any]) -> str:
        """What was kept, by stage and by domain."""
        lines = [f"{key}: {result[key]}" for key in ("path", "num_kept", "num_dropped") if key in result]
        if "num_tokens" in result:
            lines.append(f"num_tokens: {result['num_tokens']} ({result['share_of_tokens']:.1%} of the pool's)")
        lines += [f"{name}: {result[name]}" for name in ("export", "pushed") if name in result]
        lines += [
            f"  {row['stage']}: {row['kept']} of {row['from']} ({row['seconds']:.1f} s)" for row in result["stages"]
        ]
        shares = sorted(result["domain_shares"].items(), key=lambda item: -item[1]["after"])
        if len(shares) > 1:
            unit = " of tokens" if "num_tokens" in result else ""
            lines.append(f"domains, share{unit} in the pool and in what is kept")
            lines += [f"  {name:<20} {row['before']:6.1%} {row['after']:6.1%}" for name, row in shares]
        return "\n".join(lines)


COMMAND = Select
