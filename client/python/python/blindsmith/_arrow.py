"""Tables by the Arrow PyCapsule interface, read where they are, without any library of Arrow.

The structures are those of the C data interface: https://arrow.apache.org/docs/format/CDataInterface.html
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_int64, c_void_p
from decimal import Decimal
from typing import Any

import numpy as np

from ._columns import Column, joined, text_of_strings


class _Schema(ctypes.Structure):
    pass


class _Array(ctypes.Structure):
    pass


class _Stream(ctypes.Structure):
    pass


_Schema._fields_ = [
    ("format", c_char_p),
    ("name", c_char_p),
    ("metadata", c_void_p),
    ("flags", c_int64),
    ("n_children", c_int64),
    ("children", POINTER(POINTER(_Schema))),
    ("dictionary", POINTER(_Schema)),
    ("release", ctypes.CFUNCTYPE(None, POINTER(_Schema))),
    ("private_data", c_void_p),
]
_Array._fields_ = [
    ("length", c_int64),
    ("null_count", c_int64),
    ("offset", c_int64),
    ("n_buffers", c_int64),
    ("n_children", c_int64),
    ("buffers", POINTER(c_void_p)),
    ("children", POINTER(POINTER(_Array))),
    ("dictionary", POINTER(_Array)),
    ("release", ctypes.CFUNCTYPE(None, POINTER(_Array))),
    ("private_data", c_void_p),
]
_Stream._fields_ = [
    ("get_schema", ctypes.CFUNCTYPE(c_int, POINTER(_Stream), POINTER(_Schema))),
    ("get_next", ctypes.CFUNCTYPE(c_int, POINTER(_Stream), POINTER(_Array))),
    ("get_last_error", ctypes.CFUNCTYPE(c_char_p, POINTER(_Stream))),
    ("release", ctypes.CFUNCTYPE(None, POINTER(_Stream))),
    ("private_data", c_void_p),
]

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = c_void_p
_pointer.argtypes = [ctypes.py_object, c_char_p]

_NUMBERS = {
    "c": np.int8,
    "C": np.uint8,
    "s": np.int16,
    "S": np.uint16,
    "i": np.int32,
    "I": np.uint32,
    "l": np.int64,
    "L": np.uint64,
    "f": np.float32,
    "g": np.float64,
}
_UNITS = {"s": 1, "m": 1_000, "u": 1_000_000, "n": 1_000_000_000}


class Owner:
    """What keeps the memory of a table: it is given back with this."""

    def __init__(self) -> None:
        self.schema = _Schema()
        self.arrays: list[_Array] = []
        self.capsules: list[Any] = []

    def __del__(self) -> None:
        for held in [*self.arrays, self.schema]:
            if held.release:
                held.release(ctypes.byref(held))


def _import(data: Any) -> Owner:
    owner = Owner()
    if hasattr(data, "__arrow_c_stream__"):
        capsule = data.__arrow_c_stream__()
        stream = _Stream.from_address(_pointer(capsule, b"arrow_array_stream"))
        _checked(stream, stream.get_schema(ctypes.byref(stream), ctypes.byref(owner.schema)))
        while True:
            array = _Array()
            _checked(stream, stream.get_next(ctypes.byref(stream), ctypes.byref(array)))
            if not array.release:
                break
            owner.arrays.append(array)
        owner.capsules.append(capsule)
        return owner
    schema, array = data.__arrow_c_array__()
    # They stay the capsules', which give them back.
    owner.capsules.extend([schema, array])
    owner.schema = _Schema.from_address(_pointer(schema, b"arrow_schema"))
    owner.arrays.append(_Array.from_address(_pointer(array, b"arrow_array")))
    owner.__class__ = _Borrower
    return owner


class _Borrower(Owner):
    """Memory that its capsules give back."""

    def __del__(self) -> None:
        self.capsules.clear()


def _checked(stream: _Stream, code: int) -> None:
    if code != 0:
        words = stream.get_last_error(ctypes.byref(stream))
        raise OSError(code, words.decode(errors="replace") if words else "the table cannot be read")


def table(data: Any, ignore: list[str]) -> tuple[list[str], list[Column], int, Owner]:
    """Names, columns and the number of rows; the arrays live as long as the owner does."""
    owner = _import(data)
    if owner.schema.format != b"+s":
        raise TypeError("a table with named columns is wanted, and this is a single column")
    schemas = [owner.schema.children[i].contents for i in range(owner.schema.n_children)]
    names = [(schema.name or b"").decode() for schema in schemas]
    columns = []
    for i, (schema, name) in enumerate(zip(schemas, names)):
        parts = [_child(array, i) for array in owner.arrays]
        columns.append(_chunks(schema, parts, name, name in ignore))
    return names, columns, sum(array.length for array in owner.arrays), owner


def column(data: Any) -> tuple[Column, Owner]:
    """A single column."""
    owner = _import(data)
    parts = [(array, array.offset, array.length) for array in owner.arrays]
    return _chunks(owner.schema, parts, "labels", False), owner


def _child(array: _Array, index: int) -> tuple[_Array, int, int]:
    # The rows of a slice of a struct are a slice of each of its children.
    child = array.children[index].contents
    return child, child.offset + array.offset, array.length


def _chunks(schema: _Schema, parts: list[tuple[_Array, int, int]], name: str, ignored: bool) -> Column:
    if ignored:
        rows = sum(length for _, _, length in parts)
        return Column("plain", np.zeros(rows, bool))
    return joined([_column(schema, array, offset, length, name) for array, offset, length in parts])


def _buffer(array: _Array, index: int, dtype: Any, count: int) -> Any:
    address = array.buffers[index] if index < array.n_buffers else None
    if not address or count == 0:
        return np.zeros(count, dtype)
    size = np.dtype(dtype).itemsize * count
    raw = np.ctypeslib.as_array(ctypes.cast(address, POINTER(ctypes.c_uint8)), (size,))
    return raw.view(dtype)


def _bits(array: _Array, index: int, offset: int, length: int) -> Any:
    bytes_ = _buffer(array, index, np.uint8, (offset + length + 7) // 8)
    return np.unpackbits(bytes_, bitorder="little")[offset : offset + length].view(bool)


def _present(array: _Array, offset: int, length: int) -> Any:
    if array.null_count == 0 or array.n_buffers == 0 or not array.buffers[0]:
        return None
    present = _bits(array, 0, offset, length)
    return None if present.all() else present


def _column(schema: _Schema, array: _Array, offset: int, length: int, name: str) -> Column:
    kind = schema.format.decode()
    present = _present(array, offset, length)
    if schema.dictionary:
        codes = _buffer(array, 1, _NUMBERS[kind], offset + length)[offset:].astype(np.int64)
        names = array.dictionary.contents
        column = _column(schema.dictionary.contents, names, names.offset, names.length, name)
        return Column("codes", codes, present, column)
    if kind in _NUMBERS:
        return Column("plain", _buffer(array, 1, _NUMBERS[kind], offset + length)[offset:], present)
    if kind == "b":
        return Column("plain", _bits(array, 1, offset, length), present)
    if kind == "e":
        return Column("plain", _buffer(array, 1, np.float16, offset + length)[offset:].astype(np.float32), present)
    if kind == "n":
        return Column("plain", np.full(length, np.nan))
    if kind in ("u", "U", "z", "Z"):
        dtype = np.int64 if kind in "UZ" else np.int32
        offsets = _buffer(array, 1, dtype, offset + length + 1)[offset:].astype(np.int64)
        return Column("text", offsets, present, _buffer(array, 2, np.uint8, int(offsets[-1])))
    if kind in ("vu", "vz"):
        views = _buffer(array, 1, np.uint8, 16 * (offset + length))[16 * offset :]
        count = array.n_buffers - 3
        sizes = _buffer(array, array.n_buffers - 1, np.int64, count)
        return Column("views", views, present, [_buffer(array, 2 + i, np.uint8, int(sizes[i])) for i in range(count)])
    if kind == "tdD":
        return Column("days", _buffer(array, 1, np.int32, offset + length)[offset:], present)
    if kind == "tdm":
        return Column("times", _buffer(array, 1, np.int64, offset + length)[offset:], present, 1_000)
    if kind.startswith("ts"):
        return Column("times", _buffer(array, 1, np.int64, offset + length)[offset:], present, _UNITS[kind[2]])
    if kind.startswith("d:"):
        return _decimals(kind, array, offset, length, present)
    raise TypeError(
        f"column {name!r}: values of the Arrow type {kind!r} are not read; convert the column to numbers or text, or ignore it"
    )


def _decimals(kind: str, array: _Array, offset: int, length: int, present: Any) -> Column:
    _, scale, *width = (int(part) for part in kind[2:].split(","))
    size = (width[0] if width else 128) // 8
    raw = _buffer(array, 1, np.uint8, size * (offset + length)).tobytes()
    units = (int.from_bytes(raw[size * i : size * (i + 1)], "little", signed=True) for i in range(offset, offset + length))
    return text_of_strings([str(Decimal(unit).scaleb(-scale)) for unit in units], present)
