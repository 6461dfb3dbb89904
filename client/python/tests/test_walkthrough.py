"""The walk-through of docs/first-project.md gives in Python what it gives on the command line."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import blindsmith

TABLE = Path(__file__).parents[2] / "data" / "assets" / "breast_cancer.csv"


def parts(folder):
    """Every fourth row of the table belongs to a part, as the page's awk has it."""
    head, *lines = TABLE.read_text().splitlines()
    for part in range(4):
        (folder / f"part{part}.csv").write_text("\n".join([head, *lines[(part - 2) % 4 :: 4]]) + "\n")
    return head.split(",")[-1]


def test_both_walk_the_same_way(service, tmp_path):
    program = os.environ.get("BLINDSMITH_CLI")
    if not program:
        pytest.skip("BLINDSMITH_CLI does not name the command line")
    label = parts(tmp_path)

    def command(name, *arguments):
        where = ["--refinery", service.refinery] if name == "init" else []
        done = subprocess.run(
            [program, name, "--project", "tumours", *where, *arguments, "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    settings = ["--hidden", "16", "--batch-rows", "32", "--epochs", "5", "--weight-decay", "0.01"]
    made = command("init", "--data", "part0.csv", "--label", label, *settings, "--accept-simulated")
    command("push", "--data", "part3.csv", "--validation")
    for part in (1, 2):
        command("push", "--data", f"part{part}.csv")
        command("refine", "--wait-only")
    command("refine", "--epochs", "3")
    expected = command("history")["rounds"]
    predicted = command("predict", "--data", "part3.csv")

    project = service.init(tmp_path / "part0.csv", label=label, hidden=[16], batch_rows=32, epochs=5, weight_decay=0.01)
    assert (project.created.layers, project.created.epochs, project.created.batch_rows) == (
        made["layers"],
        made["epochs"],
        made["batch_rows"],
    )
    project.push(tmp_path / "part3.csv", validation=True)
    for part in (1, 2):
        project.push(tmp_path / f"part{part}.csv")
        project.wait()
    project.refine(epochs=3)
    rounds = project.history().rounds
    assert [(r.decision, r.rows) for r in rounds] == [(r["decision"], r["rows"]) for r in expected]
    for mine, other in zip(rounds[1:], expected[1:]):
        assert abs(mine.accuracy - other["validation"]["accuracy"]) < 0.03
        assert abs(mine.loss - other["validation"]["loss"]) < 0.03
    assert abs(project.predict(tmp_path / "part3.csv").accuracy - predicted["accuracy"]) < 0.03
    # Both work on one directory.
    same = blindsmith.Project.open(tmp_path / "tumours")
    assert [r.round for r in same.history()] == [r["round"] for r in expected] and same.verify()
