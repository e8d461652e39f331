"""Any text as a method, a recipe or a table of mixtures is one or an InputError; what is written is read back."""

import hypothesis.strategies as st
from hypothesis import given

from thresher.errors import InputError
from thresher.selection.methods import METHODS, stages_of
from thresher.selection.mixture.table_file import read_columns, read_table
from thresher.selection.statistics.loss_files import LossColumns, read_losses

PIECES = st.sampled_from(
    [*METHODS, "|", ":", ",", "=", " ", "0.2", "fraction", "1e400", "nan", "-1", "per_domain", "\x1b", "x"]
)


@given(st.text() | st.lists(PIECES, max_size=9).map("".join))
def test_any_text_is_a_line_of_methods_or_refused(text):
    try:
        stages = stages_of(text)
    except InputError as error:
        assert "method" in str(error)
    else:
        assert stages_of(" | ".join(map(str, stages))) == stages


CELLS = (
    st.text(max_size=6)
    | st.floats().map(repr)
    | st.sampled_from(["a", "weight_a", "weight_b", "loss_t", "size", "loss"])
)
TABLES = st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=5).map(lambda rows: "\n".join(map(",".join, rows)))
TYPICAL = st.lists(st.tuples(*[st.floats().map(repr) | st.just("") | st.just("x")] * 4), min_size=1, max_size=6)


@given(TABLES | TYPICAL.map(lambda rows: "\n".join(["weight_a,weight_b,loss_t,loss_u", *map(",".join, rows)])))
def test_any_table_of_mixtures_is_one_or_refused(tmp_path, text):
    (tmp_path / "x.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read_table(tmp_path / "x.csv")
    except InputError as error:
        assert "x.csv" in str(error) or "mixture" in str(error) or "weight" in str(error) or "loss" in str(error)


@given(TABLES | TYPICAL.map(lambda rows: "\n".join(["size,recipe,test_set,loss", *map(",".join, rows)])))
def test_any_table_of_losses_is_one_or_refused(tmp_path, text):
    (tmp_path / "x.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read_losses([tmp_path / "x.csv"], LossColumns())
    except InputError as error:
        assert str(error).strip()


@given(st.binary(max_size=60) | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode))
def test_any_file_of_columns_is_one_or_refused(tmp_path, raw):
    (tmp_path / "x.toml").write_bytes(raw)
    try:
        read_columns(tmp_path / "x.toml")
    except InputError as error:
        assert "x.toml" in str(error)
