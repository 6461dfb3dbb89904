"""Columns as the library takes them: a kind, arrays, and which cells are there."""

from __future__ import annotations

import datetime
import decimal
from dataclasses import dataclass
from typing import Any

import numpy as np

_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass
class Column:
    """``kind`` is plain, days, times, text, views or codes; ``more`` is what else that kind has."""

    kind: str
    values: Any
    present: Any = None
    more: Any = None

    def parts(self) -> tuple[str, Any, Any, Any]:
        """As the library takes it."""
        more = self.more.parts() if isinstance(self.more, Column) else self.more
        present = None if self.present is None else np.ascontiguousarray(self.present, dtype=bool)
        return self.kind, self.values, present, more

    def __len__(self) -> int:
        if self.kind == "text":
            return len(self.values) - 1
        return len(self.values) // 16 if self.kind == "views" else len(self.values)


def joined(parts: list[Column]) -> Column:
    """One column of several of a kind; of one, that one."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Column("plain", np.zeros(0))
    present = None
    if any(part.present is not None for part in parts):
        present = np.concatenate([np.ones(len(p), bool) if p.present is None else p.present for p in parts])
    kind = parts[0].kind
    if kind in ("plain", "days", "times"):
        return Column(kind, np.concatenate([part.values for part in parts]), present, parts[0].more)
    if kind == "text":
        ends, offsets = 0, [np.zeros(1, np.int64)]
        for part in parts:
            offsets.append(part.values[1:] - part.values[0] + ends)
            ends = int(offsets[-1][-1]) if len(part) else ends
        pieces = [part.more[part.values[0] : part.values[-1]] for part in parts]
        return Column(kind, np.concatenate(offsets), present, np.concatenate(pieces))
    if kind == "views":
        views, buffers = [], []
        for part in parts:
            view = part.values.view(np.int32).reshape(-1, 4).copy()
            view[view[:, 0] > 12, 2] += len(buffers)
            views.append(view)
            buffers.extend(part.more)
        return Column(kind, np.concatenate(views).reshape(-1).view(np.uint8), present, buffers)
    codes, names = [], []
    for part in parts:
        codes.append(part.values + sum(len(known) for known in names))
        names.append(part.more)
    return Column(kind, np.concatenate(codes), present, joined(names))


def text_of_strings(strings: list[str], present: Any = None) -> Column:
    """A column of text."""
    encoded = [string.encode() for string in strings]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return Column("text", offsets, present, np.frombuffer(b"".join(encoded), np.uint8))


def of_array(array: Any) -> Column:
    """A column of a one-dimensional array, copied only where its elements are apart or of a type that is none of a column's."""
    present = None
    if isinstance(array, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(array)
        present = ~mask if mask.any() else None
        array = array.data
    array = np.asarray(array)
    if array.ndim != 1:
        raise TypeError(f"a column has one dimension, not {array.ndim}")
    kind = array.dtype.kind
    if kind == "M":
        unit = np.datetime_data(array.dtype)[0]
        there = ~np.isnat(array)
        present = there if present is None else present & there
        if unit not in _UNITS:
            array, unit = array.astype("M8[s]"), "s"
        units = np.ascontiguousarray(array).view(np.int64)
        return Column("times", units, None if present.all() else present, _UNITS[unit])
    if kind in "biuf":
        return Column("plain", native(array), present)
    if kind == "S":
        return text_of_strings([text.decode() for text in array.tolist()], present)
    if kind == "U":
        return text_of_strings(array.tolist(), present)
    if kind in "OT":
        return of_objects(array.tolist(), present)
    raise TypeError(f"values of the type {array.dtype} are not read; convert them to numbers or text")


def native(array: Any) -> Any:
    """In this machine's byte order, of a width that columns have, one element after the other."""
    dtype = array.dtype.newbyteorder("=")
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        dtype = np.dtype(np.float32 if dtype.itemsize == 2 else np.float64)
    return np.ascontiguousarray(array, dtype=dtype)


def _is_missing(cell: Any) -> bool:
    # NaN, pandas.NA and pandas.NaT are what differs from itself, or will not say.
    if cell is None:
        return True
    if isinstance(cell, (str, bytes)):
        return False
    try:
        return bool(cell != cell)
    except (TypeError, ValueError):
        return True


def of_objects(cells: list[Any], present: Any = None) -> Column:
    """A column of Python's objects: numbers where all are, else text as a CSV would have it."""
    there = [not _is_missing(cell) for cell in cells]
    if present is not None:
        there = [a and bool(b) for a, b in zip(there, present)]
    known = [cell for cell, is_there in zip(cells, there) if is_there]
    mask = None if all(there) else np.array(there, bool)
    for types, dtype in [((bool, np.bool_), bool), ((int, np.integer), np.int64), ((int, float, np.number), np.float64)]:
        some = known and all(isinstance(cell, types) for cell in known)
        if some and (dtype is bool or not any(isinstance(cell, (bool, np.bool_)) for cell in known)):
            try:
                filled = [cell if is_there else 0 for cell, is_there in zip(cells, there)]
                return Column("plain", np.array(filled, dtype), mask)
            except OverflowError:
                break
    return text_of_strings([_text(cell) if is_there else "" for cell, is_there in zip(cells, there)], mask)


def _text(cell: Any) -> str:
    if isinstance(cell, bytes):
        return cell.decode()
    if isinstance(cell, (datetime.datetime, datetime.date)):
        return cell.isoformat()
    if isinstance(cell, (str, int, float, decimal.Decimal, np.generic)):
        return str(cell)
    raise TypeError(f"a cell of the type {type(cell).__name__} is not read; convert it to a number or text")
