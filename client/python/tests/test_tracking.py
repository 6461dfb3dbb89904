"""Rounds reach whoever tracks experiments."""

import struct
import sys
import types

import pytest

import blindsmith.mlflow
import blindsmith.tensorboard


def test_rounds_are_told_once_each(project, iris):
    rows, labels = iris
    heard = []
    project.on_round.append(heard.append)
    project.push(rows[::2], labels[::2], validation=True)
    project.push(rows[1::2], labels[1::2])
    project.wait()
    project.wait()
    project.refine()
    assert [ended.round for ended in heard] == [1, 2]
    assert heard[0].metrics["validation_accuracy"] == heard[0].accuracy


def test_mlflow_hears_rounds_until_it_is_switched_off(project, iris, monkeypatch):
    """A stand-in for mlflow, which is large: it notes what the functions of that name are called with."""
    calls = []
    stand_in = types.ModuleType("mlflow")
    for name in ("start_run", "log_params", "log_metrics", "set_tag"):
        setattr(stand_in, name, lambda *arguments, _name=name, **named: calls.append((_name, arguments, named)))
    stand_in.active_run = lambda: None
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    blindsmith.mlflow.autolog()
    blindsmith.mlflow.autolog()
    try:
        project.push(*iris)
        project.wait()
    finally:
        blindsmith.mlflow.autolog(disable=True)
    project.refine()
    assert [name for name, _, _ in calls] == ["start_run", "log_params", "set_tag", "log_metrics"]
    assert calls[1][1][0]["warden"] == "simulated"
    assert calls[3][2] == {"step": 1} and calls[3][1][0]["rows"] > 0


def test_an_event_file_has_what_was_written(project, iris, tmp_path):
    writer = blindsmith.tensorboard.Writer(tmp_path)
    project.on_round.append(writer)
    project.push(*iris)
    ended = project.wait()
    records, data = [], writer.path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert data[8:12] == blindsmith.tensorboard._masked(data[:8])
        assert data[12 + length : 16 + length] == blindsmith.tensorboard._masked(data[12 : 12 + length])
        records.append(data[12 : 12 + length])
        data = data[16 + length :]
    assert len(records) == 2 and b"brain.Event:2" in records[0]
    for name, value in ended.metrics.items():
        assert name.encode() + struct.pack("<Bf", 0x15, value) in records[1]


def test_the_checksum_is_that_of_the_standard():
    """CRC-32C of RFC 3720, B.4, masked as TFRecord has it."""
    crc = 0x8A9136AA
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    assert blindsmith.tensorboard._masked(bytes(32)) == struct.pack("<I", masked)


def test_bars_need_tqdm_only_if_they_are_asked_for(project, iris, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    project.push(*iris)
    with pytest.raises(ImportError, match="pip install tqdm"):
        project.wait(progress=True)
