"""Rows as users have them, for the library: paths, arrays, data frames, anything that speaks Arrow."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any, Sequence

import numpy as np

from . import _arrow
from ._columns import Column, native, of_array, of_objects


@dataclass
class Table:
    """A matrix in row-major order, or columns."""

    rows: int
    names: list[str] | None = None
    matrix: Any = None
    held: list[Column] = field(default_factory=list)
    #: What keeps the arrays' memory.
    owner: Any = None

    @property
    def columns(self) -> list[tuple[str, Any, Any, Any]]:
        return [column.parts() for column in self.held]

    @property
    def width(self) -> int:
        return self.matrix.shape[1] if self.matrix is not None else len(self.held)


@dataclass
class Source:
    """Rows, as the library takes them."""

    name: str
    reading: str
    path: Any = None
    table: Table | None = None
    labels: Any = None


def is_path(data: Any) -> bool:
    """Whether rows are in a file."""
    return isinstance(data, (str, os.PathLike))


def source(
    data: Any, labels: Any = None, *, label_names: Sequence[str] = (), reading: dict[str, Any] | None = None
) -> Source:
    """Rows with their labels: columns of the table, apart, or in a file of their own.

    ``label_names`` are the columns' names that labels take which come apart from a table with names.
    """
    reading = {key: value for key, value in (reading or {}).items() if value is not None}
    words = json.dumps(reading)
    if is_path(data):
        if labels is not None and not is_path(labels):
            raise TypeError("rows in a file have their labels in it, or in a second file")
        return Source(os.fspath(data), words, path=os.fspath(data), labels=None if labels is None else os.fspath(labels))
    rows = table(data, list(reading.get("ignore", [])))
    name = f"the {type(data).__name__}"
    if labels is None:
        return Source(name, words, table=rows)
    apart = table(labels, [])
    if apart.rows != rows.rows:
        raise ValueError(f"{rows.rows} rows, and labels for {apart.rows}")
    if rows.names is None:
        return Source(name, words, table=rows, labels=Table(apart.rows, held=_columns(apart), owner=apart.owner))
    taken = list(label_names) if len(label_names) == apart.width else names_of(labels, apart.width)
    clash = [label for label in taken if label in rows.names]
    if clash:
        raise ValueError(f"the rows have a column {clash[0]!r} already: give labels in one place")
    both = Table(
        rows.rows, [*rows.names, *taken], held=[*_columns(rows), *_columns(apart)], owner=(rows.owner, apart.owner)
    )
    return Source(name, words, table=both)


def names_of(labels: Any, width: int) -> list[str]:
    """What label columns are called."""
    columns = getattr(labels, "columns", None)
    if columns is not None and len(columns) == width:
        return [str(name) for name in columns]
    name = getattr(labels, "name", None)
    if width == 1:
        return [name if isinstance(name, str) and name else "label"]
    return [f"label {i + 1}" for i in range(width)]


def _columns(table: Table) -> list[Column]:
    if table.matrix is None:
        return table.held
    return [Column("plain", np.ascontiguousarray(table.matrix[:, i])) for i in range(table.matrix.shape[1])]


def table(data: Any, ignore: list[str]) -> Table:
    """A table of whatever holds one."""
    module = type(data).__module__.partition(".")[0]
    if module == "pandas":
        return _of_pandas(data)
    if isinstance(data, dict):
        return _of_columns([str(name) for name in data], [_column(values) for values in data.values()])
    if module == "polars" and type(data).__name__ == "LazyFrame":
        data = data.collect()
    if module == "polars" and type(data).__name__ == "Series":
        data = data.to_frame()
        return Table(**{**vars(table(data, ignore)), "names": None})
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        try:
            names, columns, rows, owner = _arrow.table(data, ignore)
        except TypeError as error:
            if "single column" not in str(error):
                raise
            column, owner = _arrow.column(data)
            return Table(len(column), held=[column], owner=owner)
        return Table(rows, names, held=columns, owner=owner)
    if hasattr(data, "fetchnumpy"):
        found = data.fetchnumpy()
        return _of_columns([str(name) for name in found], [_column(values) for values in found.values()])
    if hasattr(data, "toarray") and hasattr(data, "nnz"):
        data = data.toarray()
    if hasattr(data, "detach") and hasattr(data, "cpu"):
        data = data.detach().cpu().numpy()
    return _of_array(data)


def _column(values: Any) -> Column:
    if type(values).__module__.partition(".")[0] == "pandas":
        return _of_series(values)
    if isinstance(values, (list, tuple)):
        return of_objects(list(values))
    return of_array(values)


def _of_columns(names: list[str], columns: list[Column]) -> Table:
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise ValueError(f"columns of different lengths: {sorted(lengths)}")
    return Table(lengths.pop() if lengths else 0, names, held=columns)


def _of_array(data: Any) -> Table:
    array = data if isinstance(data, np.ndarray) else np.asarray(data)
    if array.dtype.names:
        return _of_columns(list(array.dtype.names), [of_array(array[name]) for name in array.dtype.names])
    if array.ndim == 0:
        raise TypeError(f"rows are wanted, and {type(data).__name__} has none")
    if array.ndim == 1:
        return Table(len(array), held=[of_array(array)])
    if array.ndim > 2:
        array = array.reshape(len(array), -1)
    if array.dtype.kind not in "biuf" or isinstance(array, np.ma.MaskedArray):
        return Table(len(array), held=[of_array(array[:, i]) for i in range(array.shape[1])])
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        return Table(len(array), held=[of_array(array[:, i]) for i in range(array.shape[1])])
    return Table(len(array), matrix=native(array))


def _of_pandas(data: Any) -> Table:
    if not hasattr(data, "columns"):
        return Table(len(data), held=[_of_series(data)])
    names = [str(name) for name in data.columns]
    columns = [_of_series(data.iloc[:, i]) for i in range(len(names))]
    return Table(len(data), names, held=columns)


def _of_series(series: Any) -> Column:
    dtype = series.dtype
    name = type(dtype).__name__
    if name == "CategoricalDtype":
        codes = np.asarray(series.cat.codes, np.int64)
        present = None if (codes >= 0).all() else codes >= 0
        return Column("codes", np.maximum(codes, 0), present, _of_series(series.cat.categories.to_series()))
    if name == "ArrowDtype":
        import pyarrow

        column, owner = _arrow.column(pyarrow.chunked_array(pyarrow.array(series.array)))
        return Column(column.kind, _kept(column.values, owner), column.present, column.more)
    if name == "DatetimeTZDtype":
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        return of_array(series.to_numpy())
    if isinstance(dtype, np.dtype):
        return of_array(series.to_numpy())
    missing = np.asarray(series.isna(), bool)
    if dtype.kind in "biuf" and hasattr(dtype, "numpy_dtype"):
        values = series.to_numpy(dtype=dtype.numpy_dtype, na_value=0)
        return Column("plain", native(values), None if not missing.any() else ~missing)
    return of_objects(series.to_numpy(dtype=object).tolist(), ~missing)


class _Kept(np.ndarray):
    """An array that keeps the owner of its memory."""

    owner: Any


def _kept(array: Any, owner: Any) -> Any:
    kept = array.view(_Kept)
    kept.owner = owner
    return kept
