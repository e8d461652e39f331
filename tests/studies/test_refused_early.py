"""Whatever of a study can be refused is refused before a proxy is trained, and nothing that it made itself later."""

import json
import random
from dataclasses import replace

import pytest

from thresher.errors import InputError
from thresher.studies import loop
from thresher.studies.experiments.validation import read_runs
from thresher.studies.loop import run_study
from thresher.studies.preparation import prepare
from thresher.studies.reporting.run import models_of, stages_of
from thresher.studies.stages import traker_options
from thresher.studies.study import (
    AttributionTable,
    PoolTable,
    ProxyTable,
    ReferenceTable,
    SelectTable,
    Study,
    TargetTable,
    ValidateTable,
)
from thresher.studies.study_check import check_study, idle_settings
from thresher.workspace import Workspace

WORDS = "boil the rice with salt and stir the soup then bake the bread in a hot oven with butter and flour".split()


@pytest.fixture
def study(tmp_path):
    draw = random.Random(0)

    def write(name, count, make):
        rows = [make(number) for number in range(count)]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    def text(_number, most=40):
        return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))

    pool = write("pool.jsonl", 90, lambda n: {"text": text(n) + f" w{n % 45}", "site": f"site {n % 30}"})
    target = write("target.jsonl", 20, lambda n: {"text": text(n)})
    return Study(
        pool=PoolTable(data=pool, domain="site"),
        target={"t": TargetTable(data=target)},
        vocab_size=300,
        sequence_length=32,
        proxy=ProxyTable(size="20k", count=1),
        reference=ReferenceTable(size="20k", seeds=2),
    )


def refused(monkeypatch, study, tmp_path, message):
    monkeypatch.setattr(loop, "train_proxies", lambda *args, **options: pytest.fail("a proxy was trained"))
    with pytest.raises(InputError, match=message) as caught:
        run_study(study, Workspace(tmp_path / "run", "cpu"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"select": SelectTable(tokens=10**9)}, "1000000000 tokens asked for, but the pool has"),
        (
            {"select": SelectTable(fraction=0.6), "validate": ValidateTable(random_budgets=[0.5, 2.0])},
            "a random budget",
        ),
        ({"validate": ValidateTable(random_budgets=[2.0])}, "random_budgets = "),
        ({"validate": ValidateTable(random_budgets=[0.0, 2.0])}, "random_budgets = "),
        ({"validate": ValidateTable(workers=-1)}, "workers"),
        (  # enough steps on all of the budget, but not on a quarter of it
            {
                "validate": ValidateTable(controls=["bm25", "bottom"], random_budgets=[0.25, 2.0], average=3),
                "proxy": ProxyTable(size="30k", count=1, batch_size=1),
                "reference": ReferenceTable(size="20k", seeds=2, batch_size=1, epochs=0.25),
            },
            "average=3 of a training of 2 steps; pass at most that many",
        ),
        (
            {
                "validate": ValidateTable(controls=["bm25", "bottom"], average=500),
                "proxy": ProxyTable(size="30k", count=1),
            },
            "average=500 of a training of . steps; pass at most that many",
        ),
        ({"select": SelectTable(method="bm25:0.1 | dsdm", fraction=0.5)}, "tokens asked for, but the stages before"),
        ({"select": SelectTable(method="exact | dsdm:per_domain=0.01", fraction=0.5)}, "with per_domain=0.01 only"),
        ({"select": SelectTable(method="minhash:threshold=7 | dsdm")}, "threshold=7"),
        ({"select": SelectTable(method="semdedup | dsdm:per_domain=0.01", fraction=0.5)}, "with per_domain=0.01 only"),
        ({"validate": ValidateTable(controls=["classifier:buckets=1"])}, "buckets"),
        ({"reference": ReferenceTable(size="hf:nowhere/at-all/x", seeds=2)}, "nowhere"),
        (
            {"attribution": AttributionTable(backend="traker", k=5000)},
            "k=5,000 features over .* no inverse at damping 0",
        ),
        ({"attribution": AttributionTable(backend="traker", damping="loo")}, "attribution.damping = 'loo' does not go"),
        ({"attribution": AttributionTable(backend="traker", output="loss")}, "attribution.output = 'loss' does not go"),
        (
            {"attribution": AttributionTable(backend="traker", projection="sjlt")},
            "attribution.projection = 'sjlt' is none of traker's",
        ),
        ({"attribution": AttributionTable(scorer="direction", damping="loo")}, "attribution.damping = 'loo' does not"),
        ({"attribution": AttributionTable(scorer="bm25", output="loss")}, "attribution.output = 'loss' does not go"),
        ({"reference": ReferenceTable(size="20k", seeds=2, optimizer="sgd", eps_root=1e-6)}, "eps_root=1e-06 with sgd"),
    ],
)
def test_what_cannot_be_is_refused_before_a_proxy_is_trained(monkeypatch, study, tmp_path, changes, message):
    refused(monkeypatch, replace(study, **changes), tmp_path, message)


IDLE_DATA = {
    "pool.size changes nothing with task language, it is of vision": {"pool": {"size": 8}},
    "pool.label changes nothing with task language": {"pool": {"label": "site"}},
    "target.t.image changes nothing with task language": {"target": {"image": "x"}},
    "target.t.question changes nothing without target.t.classify": {"target": {"question": "Which"}},
    "target.t.classes changes nothing without target.t.classify": {"target": {"classes": ["a", "b"]}},
    "target.t.text changes nothing beside target.t.continuation": {
        "target": {"text": "a", "prompt": "b", "continuation": "c"},
    },
    "pool.domain changes nothing with task vision": {"task": "vision", "vocab_size": 4096, "sequence_length": 128},
    "target.t.prompt changes nothing with task vision": {
        "task": "vision", "vocab_size": 4096, "sequence_length": 128, "pool": {"domain": None},
        "target": {"prompt": "b", "continuation": "c"},
    },
    "embeddings 'column:e' change nothing with dsdm, random, bottom": {"select": SelectTable(embeddings="column:e")},
    "validate.average is of the verdict": {"validate": ValidateTable(average=3, verdict=False)},
}  # fmt: skip


@pytest.mark.parametrize("message", IDLE_DATA)
def test_a_setting_that_changes_nothing_is_refused_by_its_place(study, message):
    changes = dict(IDLE_DATA[message])
    for name, own in (("pool", study.pool), ("target", study.target["t"])):
        if name in changes:
            changed = replace(own, **changes[name])
            changes[name] = changed if name == "pool" else {"t": changed}
    with pytest.raises(InputError, match=f"^study: .*{message}"):
        check_study(replace(study, **changes))
    assert check_study(study) is study


def test_copies_that_a_filter_leaves_out_count_before_anything_is_trained(monkeypatch, study, tmp_path):
    rows = [{"text": " ".join(WORDS), "site": "a"} for _ in range(40)] + [{"text": "salt", "site": "b"}]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused(
        monkeypatch,
        replace(study, pool=replace(study.pool, holdout=0), select=SelectTable(method="exact | dsdm", fraction=0.5)),
        tmp_path,
        "tokens asked for, but the stages before left",
    )


@pytest.mark.slow
def test_many_small_domains_and_short_documents_end_in_a_report(study, tmp_path):
    controls = ["random", "bm25", "exact | dsir", "dsdm:repeats=3,repeat_cost=0", "dsdm:per_domain=0.05"]
    budgets = [0.5, 2.0, 5.0]
    result = run_study(
        replace(study, validate=ValidateTable(controls=controls, random_budgets=budgets, verdict=False, workers=1)),
        Workspace(tmp_path / "run", "cpu"),
    )
    runs = read_runs(result.validation.path)
    small, reference = models_of(result, runs)
    assert (small.name, reference.count) == ("proxy", 2 * 6)
    arms = {row["arm"]: row["flops"] for row in runs if " x " not in row["arm"]}
    assert reference.flops == pytest.approx(arms["random"]) and len(arms) == 6
    parts = {stage.name: stage.part for stage in stages_of(study, result)}
    assert parts["train"] == "selecting" and parts["index"] == "beside" and parts["validate"] == "validating"
    facts, supply = result.validation.facts, int(result.prepared.pool.lengths().sum())
    assert facts["budget"] == round(0.2 * supply)
    assert all(held["smallest"] >= facts["budget"] for held in facts["held"].values())
    assert set(facts["held"]) == {"dsdm", *controls}
    assert {facts["tokens_seen"][arm] for arm in facts["held"]} == {facts["budget"]}
    assert facts["tokens_seen"]["random x 5"] in (supply, 5 * facts["budget"])


def test_a_pool_too_small_for_an_off_target_part_is_no_reason_to_stop(study, tmp_path):
    prepared = prepare(replace(study, pool=replace(study.pool, holdout=1e-9)), Workspace(tmp_path / "run", "cpu"))
    assert prepared.off_target is None and len(prepared.pool) == 90


def test_the_traker_backend_is_given_what_a_study_says(study):
    own = replace(study, attribution=AttributionTable(backend="traker"))
    assert traker_options(own) == {"k": None, "projection": "normal", "damping": 0.0, "q": "mean"}
    said = AttributionTable(backend="traker", k=64, projection="rademacher", damping=2.0, q="none")
    expected = {"k": 64, "projection": "rademacher", "damping": 2.0, "q": "none"}
    assert traker_options(replace(study, attribution=said)) == expected


def test_settings_without_effect_are_found_by_all_that_scores_in_a_study(study):
    def idle(method="dsdm", controls=("random",), **settings):
        select, validate = SelectTable(method=method), ValidateTable(controls=list(controls))
        table = AttributionTable(**settings)
        return idle_settings(replace(study, attribution=table, select=select, validate=validate))

    assert idle() == {} == idle(damping="loo", k=64, q="mean")
    assert idle(scorer="ekfac", k=64, damping=1.0) == {"k": 64, "damping": 1.0}
    assert idle(scorer="direction", damping="loo") == {"damping": "loo"}
    assert idle(backend="traker", k=64, damping=1.0) == {} == idle(backend="traker")
    assert idle(curvature_damping=3.0) == {"curvature_damping": 3.0}
    assert idle(curvature_damping=3.0, controls=["dsdm:scorer=ekfac"]) == {}
    assert idle(scorer="bm25", output="loss", method="dsdm:scorer=ekfac") == {}
    assert idle(scorer="bm25", k=64) == {"k": 64} and idle(scorer="bm25", k=64, controls=["gradient_cosine"]) == {}
