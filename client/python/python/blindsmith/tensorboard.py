"""Rounds in TensorBoard: an event file, written without any library of it.

>>> import blindsmith.tensorboard, tempfile
>>> writer = blindsmith.tensorboard.Writer(tempfile.mkdtemp())
>>> writer.scalars({"loss": 0.5}, step=1)
>>> writer.path.name.startswith("events.out.tfevents.")
True
"""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path

from .results import Round

__all__ = ["Writer"]


def _table() -> list[int]:
    """CRC-32C (Castagnoli), reflected."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC = _table()


def _masked(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


class Writer:
    """Writes rounds as scalars: ``project.on_round.append(Writer("runs/1"))``."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        now = time.time()
        self.path = Path(folder) / f"events.out.tfevents.{int(now)}.{socket.gethostname()}.{os.getpid()}.{id(self)}"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write(_field(3, b"brain.Event:2"), now)

    def _write(self, what: bytes, now: float, step: int = 0) -> None:
        # Event: wall_time = 1, step = 2, file_version = 3, summary = 5.
        event = struct.pack("<Bd", 1 << 3 | 1, now) + _varint(2 << 3) + _varint(step) + what
        length = struct.pack("<Q", len(event))
        with self.path.open("ab") as file:
            file.write(length + _masked(length) + event + _masked(event))

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Writes numbers by name at a step."""
        # Summary: value = 1; Value: tag = 1, simple_value = 2.
        each = (
            _field(1, _field(1, name.encode()) + struct.pack("<Bf", 2 << 3 | 5, value)) for name, value in values.items()
        )
        self._write(_field(5, b"".join(each)), time.time(), step)

    def __call__(self, ended: Round) -> None:
        self.scalars(ended.metrics, ended.round)
