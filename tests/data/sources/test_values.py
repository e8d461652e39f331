"""What a value may be: text stays text, names are exact, and what is neither is refused by name."""

import datetime
import decimal
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thresher.cli.main import main
from thresher.data.examples import open_examples
from thresher.data.images.image_examples import read_images
from thresher.data.sources.skipped import Skipped
from thresher.data.sources.source import Source
from thresher.data.sources.values import alike, joined_id, name_of, take
from thresher.data.text.columns import TextColumns
from thresher.data.text.documents import Document, read_documents
from thresher.errors import InputError
from thresher.studies.preparation import prepare
from thresher.studies.study import PoolTable, Study, TargetTable
from thresher.workspace import Workspace


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return Source((str(path),))


def lines(path, *rows, **options):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source((str(path),), **options)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("007", "007"),
        ("True", "True"),
        (7, "7"),
        (2**63 + 1, "9223372036854775809"),
        (-3, "-3"),
        (True, "true"),
        (False, "false"),
        (1.0, "1"),  # what pandas makes of a column of whole numbers with a gap
        (-0.0, "0"),
        (2.0**53 - 1, "9007199254740991"),
        (decimal.Decimal("1.00"), "1"),
        (decimal.Decimal("1.50"), "1.5"),
        (decimal.Decimal("1E+20"), "100000000000000000000"),
        (None, ""),
    ],
)
def test_names_are_exact(value, name):
    assert name_of(value, "id") == name


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (0.5, "the float 0.5"),
        (2.0**53, "the float 9007199254740992.0"),  # its neighbour is the same float
        (float("nan"), "NaN"),
        (float("inf"), "the float inf"),
        (b"a", "bytes"),
        (["a"], "lists"),
        ({"a": 1}, "objects (fields a); name a field of it, such as id.a"),
        (datetime.datetime(2021, 3, 1), "datetime"),
        (datetime.date(2021, 3, 1), "date"),
        (datetime.timedelta(1), "timedelta"),
        (decimal.Decimal("NaN"), "Decimal"),
    ],
)
@pytest.mark.parametrize("use", ["id", "domain", "group", "classify"])
def test_what_names_nothing_is_refused_as_id_domain_group_and_class(tmp_path, value, kind, use):
    if isinstance(value, decimal.Decimal):
        with pytest.raises(Exception, match="holds Decimal"):
            name_of(value, use)
        return
    source = parquet(tmp_path / "x.parquet", text=["soup"], id=pa.array([value]))
    classes = {"classes": ("a", "b")} if use == "classify" else {}
    with pytest.raises(InputError) as error:
        list(read_documents(source, TextColumns(**{use: "id"}, **classes)))
    assert f"x.parquet row 1: column 'id' holds {kind}" in str(error.value) and "\n" not in str(error.value)
    skipped = Skipped()
    assert list(read_documents(Source(source.data, bad_rows="skip"), TextColumns(**{use: "id"}, **classes), skipped)) == []  # fmt: skip  # noqa: E501
    assert skipped.counts == {"not a name": 1}


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (pa.array([b"soup"]), "bytes"),
        (pa.array([3]), "int"),
        (pa.array([True]), "bool"),
        (pa.array([[b"a"]]), "lists"),
        (pa.array([{"a": "soup"}]), "objects (fields a), not text; name a field of it, such as text.a"),
        (pa.array([[("a", "soup")]], pa.map_(pa.string(), pa.string())), "lists"),
        (pa.array([decimal.Decimal("1.5")]), "Decimal"),
        (pa.array([datetime.date(2021, 3, 1)]), "date"),
        (pa.array([1.5]), "the float 1.5"),
    ],
)
def test_what_is_no_text_never_becomes_text(tmp_path, array, kind):
    with pytest.raises(InputError) as error:
        list(read_documents(parquet(tmp_path / "x.parquet", text=array), TextColumns()))
    assert f"column 'text' holds {kind}" in str(error.value)


META = {"text": "soup", "meta": {"source": "web", "n": 7, "deep": {"id": "a"}}, "a.b": "dots"}


def test_fields_of_objects_are_named_with_dots_in_json_and_parquet(tmp_path):
    other = {**META, "text": "rope", "meta": {"source": None, "n": 8, "deep": {"id": "b"}}}
    expected = [Document("a", "web", "soup"), Document("b", "", "rope")]
    columns = TextColumns(id="meta.deep.id", domain="meta.source")
    pq.write_table(pa.Table.from_pylist([META, other]), tmp_path / "x.parquet")
    for source in (lines(tmp_path / "x.jsonl", META, other), Source((str(tmp_path / "x.parquet"),))):
        assert list(read_documents(source, columns)) == expected
        assert [one.domain for one in read_documents(source, TextColumns(domain="a.b"))] == ["dots", "dots"]
        with pytest.raises(InputError, match=r"has no column 'meta.sauce'; its columns are: text, meta"):
            list(read_documents(source, TextColumns(domain="meta.sauce")))
    with pytest.raises(InputError, match=r"\(did you mean 'meta.source'\?\)"):
        list(read_documents(source, TextColumns(domain="meta.sauce")))


def test_whole_rows_are_as_the_source_has_them(tmp_path):
    pq.write_table(pa.Table.from_pylist([{**META, "when": datetime.date(2021, 3, 1)}]), tmp_path / "x.parquet")
    columns = TextColumns(id="meta.deep.id", domain="a.b")
    (document,) = read_documents(Source((str(tmp_path / "x.parquet"),)), columns, whole_rows=True)
    assert document.columns == {"text": None, "meta": META["meta"], "a.b": "dots", "when": "2021-03-01"}


def test_a_field_of_nothing_is_nothing_and_dots_in_a_name_come_first():
    values = {"a": None, "b": {"c": 1}, "b.c": 2, "d.e": {"f": 3}}
    assert take(values, ["a.x", "b.c", "d.e.f"]) is None
    assert (values["a.x"], values["b.c"], values["d.e.f"]) == (None, 2, 3)
    assert take(values, ["b.c", "b.d"]) == "b.d"


def test_several_columns_make_one_id_and_different_rows_never_the_same(tmp_path):
    pairs = [("a", "b/c"), ("a/b", "c"), ("a%2Fb", "c"), ("a", "b%2Fc"), ("a", 1), ("a1", 2)]
    rows = [{"text": f"soup {n}", "doc": one, "part": two} for n, (one, two) in enumerate(pairs)]
    found = [one.id for one in read_documents(lines(tmp_path / "x.jsonl", *rows), TextColumns(id=("doc", "part")))]
    assert found == ["a/b%2Fc", "a%2Fb/c", "a%252Fb/c", "a/b%252Fc", "a/1", "a1/2"]
    assert joined_id(["a/b%"]) == "a/b%"  # one column as it is written
    with pytest.raises(InputError, match="the id 'a/1' twice"):
        list(read_documents(lines(tmp_path / "x.jsonl", rows[4], rows[4]), TextColumns(id=("doc", "part"))))
    with pytest.raises(InputError, match="row 1 has no id"):
        list(read_documents(lines(tmp_path / "x.jsonl", {**rows[0], "part": None}), TextColumns(id=("doc", "part"))))


def test_the_command_and_a_study_take_several_columns_as_id(tmp_path):
    rows = [{"text": f"soup number {n}", "doc": f"d{n // 2}", "part": n % 2} for n in range(40)]
    path = lines(tmp_path / "x.jsonl", *rows).data[0]
    shape = ["--vocab-size", "300", "--sequence-length", "16", "--quiet", "--out", str(tmp_path / "o")]
    assert main(["prepare", "--data", path, "--id", "doc", "part", *shape]) == 0
    ids = {document for own in open_examples(tmp_path / "o").column("documents") for document in own}
    assert {"d0/0", "d0/1", "d19/1"} < ids and len(ids) == 40
    study = Study(
        pool=PoolTable(data=path, id=["doc", "part"], holdout=0.0),
        target={"t": TargetTable(data=path, id=["doc", "part"])},
        vocab_size=300,
        sequence_length=16,
    )
    made = prepare(study, Workspace(tmp_path / "run"))
    assert {document for own in made.pool.column("documents") for document in own} == ids


def test_classes_one_of_which_is_missing_or_written_otherwise(tmp_path):
    rows = [{"text": "a", "label": 1.0}, {"text": "b", "label": 0}, {"text": "c", "label": 1}]
    source = lines(tmp_path / "x.jsonl", *rows)
    columns = TextColumns(classify="label").of_source(source)
    assert columns.classes == ("0", "1")
    assert [one.answer for one in read_documents(source, columns)] == [1, 0, 1]
    gap = lines(tmp_path / "x.jsonl", *rows, {"text": "d", "label": None})
    columns = TextColumns(classify="label").of_source(gap)
    assert columns.classes == ("0", "1")  # None is no class
    with pytest.raises(InputError, match="row 4: column 'label' holds no class"):
        list(read_documents(gap, columns))
    for pair in (("good", "Good"), ("good", "good "), ("caf\xe9", "cafe\u0301")):
        source = lines(tmp_path / "x.jsonl", *({"text": "a", "label": name} for name in (*pair, "bad")))
        with pytest.raises(InputError, match="differ only in how they are written"):
            TextColumns(classify="label").of_source(source)
    source = lines(tmp_path / "x.jsonl", *({"text": "a", "label": name} for name in ("x=1", "x=2")))
    with pytest.raises(InputError, match="has the class 'x=1'"):
        TextColumns(classify="label").of_source(source)


def test_a_narrow_float_names_only_what_it_holds_exactly(tmp_path):
    for kind, exact in ((pa.float32(), 2**24), (pa.float16(), 2**11)):
        found = read_documents(parquet(tmp_path / "x.parquet", text=["a"], id=pa.array([exact - 1.0], kind)), TextColumns(id="id"))  # fmt: skip  # noqa: E501
        assert [one.id for one in found] == [str(exact - 1)]
        with pytest.raises(InputError, match=r"column 'id' holds the .* beyond what is exact"):
            source = parquet(tmp_path / "x.parquet", text=["a"], id=pa.array([float(exact)], kind))
            list(read_documents(source, TextColumns(id="id")))


def test_a_blank_id_or_class_is_none(tmp_path):
    source = lines(tmp_path / "x.jsonl", {"text": "a", "label": " "}, {"text": "b", "label": "x"})
    with pytest.raises(InputError, match="has 1 classes"):
        TextColumns(classify="label").of_source(source)
    with pytest.raises(InputError, match="row 1 has no id"):
        list(read_documents(source, TextColumns(id="label")))


def test_letters_may_be_classes_in_both_cases():
    assert alike(["A", "a", "b"]) is None
    assert alike(["Aa", "aa"]) == ("Aa", "aa")
    assert alike(["a ", "a"]) == ("a ", "a")


def test_a_class_that_the_file_does_not_name_is_refused(tmp_path):
    features = {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}, "old": [{"a": {"dtype": "string"}}]}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    for value, said in ((5, "holds class 5, but the file names 2 classes"), (-1, "holds no class")):
        table = pa.table({"text": ["a", "b"], "label": [1, value]}).replace_schema_metadata(metadata)
        pq.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(InputError, match=said):
            list(read_documents(Source((str(tmp_path / "x.parquet"),)), TextColumns(classify="label", classes=("cat", "dog"))))  # fmt: skip  # noqa: E501


def test_the_right_choice_may_be_a_whole_float_but_no_other(tmp_path):
    row = {"q": "what floats?", "choices": ["a stone", "a boat"], "gold": 1.0}
    columns = TextColumns(prompt="q", choices="choices", gold="gold")
    assert [one.text for one in read_documents(lines(tmp_path / "x.jsonl", row), columns)] == ["a boat"]
    for gold, said in ((True, "holds True, which is none"), (0.5, "holds the float 0.5"), ([1], "holds lists")):
        with pytest.raises(InputError, match=said):
            list(read_documents(lines(tmp_path / "x.jsonl", {**row, "gold": gold}), columns))
    labels = {"text": ["a stone", "a boat"], "label": [1, 2]}
    (document,) = read_documents(lines(tmp_path / "x.jsonl", {**row, "choices": labels, "gold": "1"}), columns)
    assert document.text == "a stone"  # labels before numbers


def test_an_image_without_a_class_or_with_an_object_for_one_is_refused(tmp_path):
    for label, said in ((None, "holds no class"), ({"name": "cat"}, "such as label.name"), (0.5, "the float 0.5")):
        rows = [{"image": {"bytes": b"x", "path": None}, "label": label}]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
        with pytest.raises(InputError, match=said):
            list(read_images(Source((str(tmp_path / "x.parquet"),))))


def test_text_that_is_composed_otherwise_falls_on_the_same_side_of_a_split():
    assert Document("0", "", "Caf\xe9 \uff21").content == Document("1", "", "cafe\u0301  a").content
    assert Document("0", "", "cafe").content != Document("1", "", "caf\xe9").content


def test_broken_text_inside_lists_is_named_or_skipped(tmp_path):
    raw = pa.array([b"good", b"caf\xe9", b"rope", b"soup"], pa.binary())
    broken = pa.StringArray.from_buffers(4, raw.buffers()[1], raw.buffers()[2])
    choices = pa.ListArray.from_arrays(pa.array([0, 2, 4], pa.int32()), broken)
    pq.write_table(pa.table({"q": ["a", "b"], "choices": choices, "gold": [0, 0]}), tmp_path / "x.parquet")
    columns = TextColumns(prompt="q", choices="choices", gold="gold")
    with pytest.raises(InputError, match="row 1: column 'choices' is not UTF-8"):
        list(read_documents(Source((str(tmp_path / "x.parquet"),)), columns))
    skipped = Skipped()
    kept = read_documents(Source((str(tmp_path / "x.parquet"),), bad_rows="skip"), columns, skipped)
    assert [one.text for one in kept] == ["rope"] and skipped.counts == {"not UTF-8": 1}
    replaced = read_documents(Source((str(tmp_path / "x.parquet"),), bad_rows="replace"), columns)
    assert [one.choices for one in replaced] == [("good", "caf\ufffd"), ("rope", "soup")]


@pytest.mark.parametrize("columns", [TextColumns(text="meta.text"), TextColumns(text="other", domain="meta.n")])
def test_a_broken_byte_in_an_object_costs_what_reads_it(tmp_path, columns):
    raw = pa.array([b"good", b"caf\xe9", b"rope"], pa.binary())
    broken = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    meta = pa.StructArray.from_arrays([broken, pa.array([1, 2, 3])], ["text", "n"])
    nested = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), meta)
    table = pa.table({"other": ["a b", "b c", "c d"], "meta": meta, "nested": nested})
    pq.write_table(table, tmp_path / "x.parquet")

    def read(policy):
        skipped = Skipped()
        source = Source((str(tmp_path / "x.parquet"),), bad_rows=policy)
        return list(read_documents(source, columns, skipped)), dict(skipped.counts)

    with pytest.raises(InputError, match="row 2: column 'meta' is not UTF-8"):
        read("refuse")
    kept, counts = read("skip")
    if columns.domain:  # the number beside the broken text
        assert [one.domain for one in kept] == ["1", "2", "3"] and counts == {}
    else:
        assert [one.text for one in kept] == ["good", "rope"] and counts == {"not UTF-8": 1}
        kept, counts = read("replace")
        assert [one.text for one in kept] == ["good", "caf\ufffd", "rope"] and counts == {"not UTF-8, replaced": 1}


@pytest.mark.parametrize(
    "broken", [{"title": "a\ud83d"}, {"tags": ["a", {"b": "\udcff"}]}, {"meta": {"k\ud800": 1}}, {"\ud800": 1}]
)
def test_broken_text_in_any_column_that_is_handed_on_is_a_bad_row(tmp_path, broken):
    rows = [{"text": "one"}, {"text": "two"} | broken, {"text": "three"}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def read(policy, **options):
        skipped = Skipped()
        source = Source((str(tmp_path / "x.jsonl"),), bad_rows=policy)
        return list(read_documents(source, TextColumns(), skipped, **options)), dict(skipped.counts)

    assert len(read("refuse")[0]) == 3
    with pytest.raises(InputError, match=r"row 2: column .* is not UTF-8"):
        read("refuse", whole_rows=True)
    kept, counts = read("skip", whole_rows=True)
    assert [one.text for one in kept] == ["one", "three"] and counts == {"not UTF-8": 1}
    kept, counts = read("replace", whole_rows=True)
    assert counts == {"not UTF-8, replaced": 1} and json.dumps(kept[1].columns, ensure_ascii=False).encode()


@pytest.mark.parametrize("names", [["A", "B", "C", "D"], ["1", "2", "3", "4"], ["3", "2", "1", "0"]])
def test_a_numbered_class_is_the_right_choice_of_its_number(tmp_path, names):
    features = {"gold": {"_type": "ClassLabel", "names": names}}
    choices = [["first", "second", "third", "fourth"]] * 5
    table = pa.table({"q": list("abcde"), "choices": choices, "gold": [0, 1, 2, 3, -1]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "x.parquet")
    columns, skipped = TextColumns(prompt="q", choices="choices", gold="gold"), Skipped()
    source = Source((str(tmp_path / "x.parquet"),), bad_rows="skip")
    assert [one.text for one in read_documents(source, columns, skipped)] == choices[0]
    assert skipped.counts == {"no right answer": 1}
