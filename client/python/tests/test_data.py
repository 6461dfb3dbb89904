"""The same table in every form becomes the same bits before it is encrypted, and what is not a table is refused."""

import datetime
import decimal

import numpy as np
import pytest

import blindsmith
from blindsmith import _data, _native

CITIES = ["Rome", "New York, NY", '"The Hague"', "None", "Ōsaka of the twelve long rivers", "7"]


def columns(rows=90):
    """Cells as Python has them; None is missing."""
    random = np.random.default_rng(5)
    made = {
        "number": [float(x) for x in random.normal(size=rows) * 1e3],
        "count": [int(x) for x in random.integers(-1000, 1000, rows)],
        "city": [CITIES[i % 6] for i in range(rows)],
        "flag": [bool(x) for x in random.integers(0, 2, rows)],
        "day": [datetime.date(1990, 1, 1) + datetime.timedelta(days=int(x)) for x in random.integers(0, 9000, rows)],
        "time": [
            datetime.datetime(2001, 2, 3) + datetime.timedelta(microseconds=int(x))
            for x in random.integers(0, 10**15, rows)
        ],
        "kind": [["ill", "well", "unsure"][i % 3] for i in range(rows)],
    }
    for place, name in enumerate(["number", "count", "city", "flag", "day", "time"]):
        made[name][20 + place] = None
        made[name][60 + 3 * place] = None
    return made


def as_csv(made):
    def cell(value):
        if value is None:
            return ""
        if isinstance(value, datetime.datetime):
            return value.isoformat()
        text = repr(value) if isinstance(value, float) else str(value)
        return '"' + text.replace('"', '""') + '"' if isinstance(value, str) else text

    lines = [",".join(made)]
    lines += [",".join(map(cell, row)) for row in zip(*made.values())]
    return "\n".join(lines) + "\n"


def forms(made, folder):
    """The table in every form, by name."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    pyarrow, duckdb = pytest.importorskip("pyarrow"), pytest.importorskip("duckdb")
    import pyarrow.parquet

    table = pyarrow.table(made)
    pyarrow.parquet.write_table(table, folder / "t.parquet")
    yield "parquet", folder / "t.parquet"
    yield "arrow", table
    yield "arrow in chunks", pyarrow.concat_tables([table.slice(0, 31), table.slice(31, 29), table.slice(60)])
    yield "arrow batch", table.combine_chunks().to_batches()[0]
    yield "arrow slice", pyarrow.concat_tables([table, table]).combine_chunks().slice(90, 90)
    encoded = table.set_column(2, "city", table["city"].dictionary_encode())
    yield "arrow dictionary", encoded
    views = table.set_column(2, "city", table["city"].cast(pyarrow.string_view()))
    yield "arrow views in chunks", pyarrow.concat_tables([views.slice(0, 40), views.slice(40)])
    yield "polars", polars.DataFrame(made)
    yield "polars lazy", polars.DataFrame(made).lazy()
    yield "polars categorical", polars.DataFrame(made).with_columns(polars.col("city").cast(polars.Categorical))
    frame = pandas.DataFrame(made)
    yield "pandas", frame
    yield "pandas with an index", frame.set_index(np.arange(90) * 2)
    yield "pandas nullable", frame.convert_dtypes()
    yield "pandas categories", frame.astype({"city": "category", "kind": "category"})
    yield "pandas of arrow", table.to_pandas(types_mapper=pandas.ArrowDtype)
    yield "duckdb", duckdb.from_arrow(table)
    yield "a dictionary of lists", made
    numbers = np.ma.masked_invalid([np.nan if x is None else x for x in made["number"]])
    yield "arrays", {
        **made,
        "number": numbers,
        "day": np.array(made["day"], "M8[D]"),
        "time": np.array(made["time"], "M8[us]"),
    }

    class Capsule:
        """Knows the interface and nothing else."""

        def __arrow_c_stream__(self, requested_schema=None):
            return table.__arrow_c_stream__(requested_schema)

    yield "anything with the interface", Capsule()


def bits(project, data, labels=None):
    source = _data.source(data, labels, label_names=project.labels)
    features, targets = _native.standardised(project._place, source)
    return features.tobytes(), targets.tobytes(), features.shape


def test_every_form_of_a_table_becomes_the_same_bits(service, tmp_path):
    made = columns()
    (tmp_path / "t.csv").write_text(as_csv(made))
    project = service.init(tmp_path / "t.csv", label="kind", impute="median", hidden=[4])
    expected = bits(project, tmp_path / "t.csv")
    # Eight features of numbers and dates, six cities, and where something was missing.
    assert expected[2] == (90, 5 + 6 + 6)
    seen = []
    for name, data in forms(made, tmp_path):
        assert bits(project, data) == expected, name
        other = service.init(data, label="kind", impute="median", hidden=[4])
        assert bits(other, tmp_path / "t.csv") == expected, f"a project that begins with {name}"
        seen.append(name)
    assert len(seen) == 19


def test_labels_may_be_apart(service, tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(columns())
    rows, labels = frame.drop(columns="kind"), frame["kind"]
    project = service.init(rows, labels, impute="median", hidden=[4])
    assert project.labels == ["kind"]
    expected = bits(project, frame)
    assert bits(project, rows, labels) == expected
    assert bits(project, rows, labels.tolist()) == expected
    assert bits(project, rows[rows.columns[::-1]], labels.to_numpy()) == expected
    with pytest.raises(ValueError, match="90 rows, and labels for 89"):
        project.push(rows, labels[1:])
    with pytest.raises(ValueError, match="'kind' already"):
        project.push(frame, labels)


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f8", "f2", "i1", "i8", "u2", "?"])
def test_arrays_are_read_as_their_files_are(service, tmp_path, dtype):
    random = np.random.default_rng(7)
    rows = (100 * random.normal(size=(300, 5))).astype(dtype)
    labels = np.arange(300) % 2
    np.save(tmp_path / "x.npy", rows)
    np.save(tmp_path / "y.npy", labels)
    project = service.init(tmp_path / "x.npy", tmp_path / "y.npy", hidden=[4])
    expected = bits(project, tmp_path / "x.npy", tmp_path / "y.npy")
    wide = np.zeros((300, 10), dtype)
    wide[:, ::2] = rows
    for form in (rows, np.asfortranarray(rows), wide[:, ::2], rows.reshape(300, 5, 1), rows.astype(object)):
        assert bits(project, form, labels) == expected
    assert bits(project, rows, labels.astype(str)) == expected
    if dtype not in (">f8", "f2"):
        assert bits(service.init(rows, labels, hidden=[4]), rows, labels) == expected


def test_many_rows_are_read_in_parts_and_errors_name_the_row(service):
    random = np.random.default_rng(9)
    rows = random.normal(size=(6000, 400)).astype(np.float32)
    labels = (rows[:, 0] > 0).astype(int)
    project = service.init(rows[:500], labels[:500], hidden=[], name="parts")
    whole = bits(project, rows, labels)
    parts = [bits(project, rows[i : i + 500], labels[i : i + 500])[0] for i in range(0, 6000, 500)]
    assert whole[0] == b"".join(parts)
    rows[5432, 21] = np.inf
    with pytest.raises(blindsmith.DataError, match="row 5433, column #22"):
        project.push(rows, labels)
    rows[5432, 21] = 0
    predicted = project.predict(rows)
    assert len(predicted) == 6000 and predicted.values.shape == (6000,)


def test_decimals_and_unusual_cells(service):
    pyarrow = pytest.importorskip("pyarrow")
    prices = [decimal.Decimal(f"{i * 7 % 93 - 40}.{i:02}") for i in range(90)]
    made = {"price": [float(p) for p in prices], "kind": ["a", "b", "c"] * 30}
    project = service.init(made, label="kind", hidden=[4])
    expected = bits(project, made)
    assert bits(project, {**made, "price": prices}) == expected
    table = pyarrow.table({"price": pyarrow.array(prices, pyarrow.decimal128(9, 2)), "kind": made["kind"]})
    assert bits(project, table) == expected
    nested = table.append_column("list", pyarrow.array([[1]] * 90))
    with pytest.raises(TypeError, match="'list'.*ignore it"):
        project.push(nested)
    assert project.push(nested, ignore=["list"]).rows == 90
    for data, words in [
        (3, "has none"),
        ({"price": [object()] * 90, "kind": made["kind"]}, "a cell of the type object"),
        (np.zeros((90, 1), complex), "complex"),
    ]:
        with pytest.raises(TypeError, match=words):
            project.push(data)
    with pytest.raises(ValueError, match="different lengths"):
        project.push({"price": [1.0], "kind": made["kind"]})
    with pytest.raises(blindsmith.DataError, match="no data rows"):
        project.push(np.zeros((0, 1)), np.zeros(0))


def test_identifiers_pass_through_and_other_tasks_have_their_targets(service):
    random = np.random.default_rng(3)
    x = random.normal(size=(200, 3))
    frame = {"key": [f"p{i}" for i in range(200)], "a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": x @ [1.0, 2.0, 3.0]}
    project = service.init(frame, label="y", task="regress", id="key", hidden=[])
    project.push(frame)
    project.wait()
    predicted = project.predict(frame)
    assert list(predicted.columns) == ["key", "y"] and predicted.columns["key"][7] == "p7"
    assert np.corrcoef(predicted.values, frame["y"])[0, 1] > 0.9
    bits_of = np.column_stack([x[:, 0] > 0, x[:, 1] > 0]).astype(int)
    several = service.init(x, bits_of, task="multi-label", hidden=[])
    several.push(x, bits_of)
    several.wait()
    assert several.predict(x).probabilities.shape == (200, 2)
