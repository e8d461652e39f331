"""Any text as study.toml is a study or one InputError; what is written is read back."""

from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import given

from thresher.errors import InputError
from thresher.studies.study import PoolTable, SelectTable, Study, TargetTable, ValidateTable
from thresher.studies.study_file import read_study, study_text

KEYS = st.sampled_from(
    "name task seed vocab_size pool target proxy reference attribution select validate t data k x".split()
)
VALUES = st.recursive(
    st.one_of(st.integers(), st.floats().map(repr), st.booleans(), st.text(max_size=9)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["data", "size", "k", "a b"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {toml(item)}' for key, item in value.items()) + "}"
    return str(value) if isinstance(value, int | float) else study_string(value)


def study_string(text: object) -> str:
    return '"' + "".join(f"\\U{ord(char):08x}" for char in str(text) if not "\ud800" <= char <= "\udfff") + '"'


def check(path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read_study(path)
    except InputError as error:
        assert path.name in str(error)


@given(st.text())
def test_any_text_is_a_study_or_refused(tmp_path, text):
    check(tmp_path / "study.toml", text)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_tables_are_a_study_or_refused(tmp_path, tables):
    lines = ['pool.data = "p"', 'target.t.data = "t"'] if "pool" not in tables and "target" not in tables else []
    check(tmp_path / "study.toml", "\n".join([*lines, *(f"{key} = {toml(value)}" for key, value in tables.items())]))


NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)


@given(
    name=NAMES,
    targets=st.dictionaries(
        NAMES.filter(lambda name: name not in ("id", "domain", "pooled")), st.floats(0, 9), min_size=1
    ),
    seed=st.integers(-(2**40), 2**40),
    fraction=st.floats(0.01, 1),
    budgets=st.lists(st.floats(0.1, 0.9), min_size=2, max_size=3, unique=True),
)
def test_a_study_is_read_back_as_it_was_written(tmp_path, name, targets, seed, fraction, budgets):
    study = Study(
        name=name,
        seed=seed,
        pool=PoolTable(data="nowhere/pool.jsonl"),
        target={target: TargetTable(data=["a.jsonl", "b"], weight=weight) for target, weight in targets.items()},
        select=SelectTable(fraction=fraction),
        validate=ValidateTable(random_budgets=budgets),
    )
    path = tmp_path / "study.toml"
    path.write_text(study_text(study), encoding="utf-8")
    assert read_study(path) == study


def test_the_copy_beside_a_run_reads_the_same_files_by_relative_paths(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pool.jsonl").touch()
    (tmp_path / "runs" / "a").mkdir(parents=True)
    pool = PoolTable(data=str(tmp_path / "data" / "pool.jsonl"))
    study = Study(pool=pool, target={"t": TargetTable(data=[pool.data])})
    text = study_text(study, tmp_path / "runs" / "a")
    assert str(tmp_path) not in text
    (tmp_path / "runs" / "a" / "study.toml").write_text(text)
    assert read_study(tmp_path / "runs" / "a" / "study.toml") == replace(study)
