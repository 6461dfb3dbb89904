"""A project from its first rows to a verified model, and what refuses."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import blindsmith


def test_rows_are_pushed_refined_predicted_and_the_model_is_pulled(service, iris, tmp_path):
    rows, labels = iris
    order = np.random.default_rng(0).permutation(len(rows))
    train, held_out = order[:110], order[110:]
    project = service.init(rows[train], labels[train], hidden=[16], name="iris", dir=tmp_path / "p")
    assert "SIMULATED" in repr(project) and project.classes == ["0", "1", "2"]
    judges = project.push(rows[held_out], labels[held_out], validation=True)
    stored = project.push(rows[train], labels[train])
    assert (judges.rows, stored.rows, stored.new) == (40, 110, True)
    last = project.wait()
    assert last.decision == "promoted" and last.accuracy > 0.8
    history = project.history()
    assert history.current == last.current and "<svg" in history._repr_html_() or len(history.curve()) < 2
    predicted = project.predict(rows[held_out])
    assert (predicted.values == labels[held_out].astype(str)).mean() > 0.8
    assert np.allclose(predicted.probabilities.sum(axis=1), 1, atol=1e-2)
    assert "<table>" in predicted._repr_html_() and "SIMULATED" in repr(predicted)
    model = project.pull()
    assert model.version == last.current and model.layers[0][0].shape == (16, 4)
    # What is pulled predicts what was answered.
    hidden = model.standardise(rows[held_out]).astype(np.float32)
    hidden = hidden @ model.layers[0][0].T + model.layers[0][1]
    hidden = hidden * 0.5 * (1 + np.vectorize(__import__("math").erf)(hidden / 2**0.5))
    logits = hidden @ model.layers[1][0].T + model.layers[1][1]
    assert (logits.argmax(axis=1).astype(str) == predicted.values).mean() > 0.95
    verdict = project.verify(model.save(tmp_path / "model.safetensors"))
    assert verdict and verdict.model["round"] == model.version
    receipts = project.receipts(tmp_path / "receipts.cbor")
    assert len(receipts) == len(history)
    assert blindsmith.verify(tmp_path / "receipts.cbor", project.dir / "policy.toml")
    again = blindsmith.Project.open(project.dir)
    assert again.id == project.id and [r.round for r in again.rounds(follow=True)] == [r.round for r in history]


def test_an_earlier_version_becomes_the_current_one_again(project, iris):
    project.push(*iris)
    first = project.wait()
    project.rollback(0)
    restored = project.wait()
    assert (first.current, restored.decision) == (1, "restored")
    assert project.pull(first.current).version == 1


def test_failures_are_exceptions_with_the_exit_codes(service, project, iris, tmp_path):
    rows, labels = iris
    project.push(rows, labels)
    with pytest.raises(blindsmith.RepeatedRowsError, match="again=True") as repeated:
        project.push(rows[::-1], labels[::-1])
    assert repeated.value.code == 2 and isinstance(repeated.value, ValueError)
    assert project.push(rows, labels, again=True).new
    bad = rows.copy()
    bad[7, 2] = np.nan
    with pytest.raises(blindsmith.DataError, match="row 8, column #3: missing"):
        project.push(bad, labels)
    with pytest.raises(blindsmith.DataError, match="'9'|\"9\""):
        project.push(rows, np.full(len(labels), 9))
    with pytest.raises(blindsmith.NotTrustedError):
        blindsmith.Project.init(tmp_path / "q", rows, labels, refinery=service.refinery)
    assert not (tmp_path / "q").exists(), "nothing stays of a project that was refused"
    with pytest.raises(blindsmith.UnreachableError):
        blindsmith.Project.open(project.dir, refinery=str(tmp_path / "none.sock")).status()
    with pytest.raises(blindsmith.ProjectError):
        blindsmith.Project.open(tmp_path)
    with pytest.raises(blindsmith.SettingsError):
        service.init(rows, labels, learning_rate=-1.0)
    with pytest.raises(TypeError, match="hiden"):
        service.init(rows, labels, hiden=[3])
    with pytest.raises(blindsmith.RefusedError, match="no version 77"):
        project.rollback(77)


def test_a_path_works_as_on_the_command_line(service, iris, tmp_path):
    rows, labels = iris
    lines = ["a,b,c,d,kind"] + [",".join(map(repr, row.tolist())) + f",k{label}" for row, label in zip(rows, labels)]
    (tmp_path / "iris.csv").write_text("\n".join(lines))
    project = service.init(tmp_path / "iris.csv", label="kind", hidden=[4])
    assert (project.columns, project.labels, project.classes) == (["a", "b", "c", "d"], ["kind"], ["k0", "k1", "k2"])
    assert project.push(str(tmp_path / "iris.csv")).rows == 150
    assert project.predict(tmp_path / "iris.csv").accuracy is not None


def test_progress_is_told_and_an_exception_in_it_ends_the_operation(project, iris):
    heard = []
    project.push(*iris, progress=heard.append)
    assert heard[-1].done == heard[-1].of == 150
    project.refine(progress=heard.append)
    assert heard[-1].round is not None

    def refuse(progress):
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        project.push(*iris, again=True, progress=refuse)


@pytest.fixture
def busy(iris):
    """A project of its own service, with a round that takes hours."""
    with pytest.warns(blindsmith.SimulatedWarning):
        service = blindsmith.local()
    with service:
        project = service.init(*iris, hidden=[8])
        project.push(*iris)
        project.wait()
        yield project


def test_control_c_ends_a_wait_and_the_round_goes_on(busy):
    def interrupt(progress):
        # As the terminal does while the round runs.
        if not sent:
            sent.append(progress)
            os.kill(os.getpid(), signal.SIGINT)

    sent = []
    with pytest.raises(KeyboardInterrupt):
        busy.refine(epochs=1_000_000, progress=interrupt)
    assert sent and busy.status().busy


def test_control_c_is_noticed_where_nobody_listens(busy):
    blindsmith._native.request_round(busy._place, 1_000_000)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        busy.wait()
    timer.join()
    assert busy.status().busy


def test_other_threads_run_while_rows_are_pushed(project, iris):
    counted = []
    ended = threading.Event()

    def count():
        while not ended.is_set():
            counted.append(1)
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    project.push(*iris)
    project.refine(epochs=100)
    ended.set()
    thread.join()
    assert len(counted) > 5


def test_services_end_with_the_context_and_with_their_parent():
    script = (
        "import blindsmith, os, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "service = blindsmith.local()\n"
        "print(service.directory, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    socket = Path(done.stdout.strip()) / "refinery" / "refinery.sock"
    deadline = time.monotonic() + 60
    while blindsmith._native.is_ready(socket, False):
        assert time.monotonic() < deadline, "the refinery outlives its parent"
        time.sleep(0.05)
    with pytest.warns(blindsmith.SimulatedWarning):
        service = blindsmith.local()
    with service:
        socket = Path(service.refinery)
        assert blindsmith._native.is_ready(socket, True)
    assert not socket.exists() and "ended" in repr(service)


def test_members_join_push_and_leave(service, project, iris, tmp_path):
    rows, labels = iris
    project.push(rows[::2], labels[::2], validation=True)
    clinic = blindsmith.Project.join(tmp_path / "clinic", project.dir / "project.json", refinery=service)
    standing = clinic.enrol()
    assert not standing.enrolled and "not invited" in repr(standing)
    project.invite(standing.member, name="clinic A")
    assert clinic.enrol().enrolled
    clinic.push(rows[1::2], labels[1::2])
    assert project.wait().round >= 1
    assert [(m.name, m.revoked) for m in project.members()] == [("clinic A", False)]
    project.revoke(standing.member)
    assert project.members()[0].revoked
    with pytest.raises(blindsmith.BlindsmithError):
        clinic.pull()
