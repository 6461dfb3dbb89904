"""Typed results of operations; each shows itself in a terminal and in a notebook."""

from __future__ import annotations

import dataclasses
import html
from dataclasses import dataclass, field
from typing import Any, Iterator, TypeVar

import numpy as np

__all__ = [
    "Created",
    "History",
    "Member",
    "Membership",
    "Predictions",
    "Progress",
    "Receipts",
    "Round",
    "Status",
    "Upload",
    "Verdict",
]

_T = TypeVar("_T")


def of(kind: type[_T], found: dict[str, Any]) -> _T:
    """A result of what the library says; what this version does not know is left out."""
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in found.items() if name in known})


def simulated(warden: str | None) -> str:
    """A warden in a word."""
    return "SIMULATED" if warden == "simulated" else (warden or "none yet")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


@dataclass(frozen=True)
class Progress:
    """How far an operation is. ``round`` is the number of the round that runs, if one does."""

    done: int
    of: int
    what: str
    round: int | None = None


@dataclass(frozen=True)
class Created:
    """A project that was created."""

    project: str
    layers: list[int]
    parameters: int
    security_bits: int
    upload_bytes_per_row: int
    columns: list[str]
    constant_columns: list[str]
    left_out: list[str]
    batch_rows: int
    epochs: int
    weight_decay: float
    patience: int
    warden: str

    def __repr__(self) -> str:
        return (
            f"<Created project {self.project[:16]}: {self.layers}, {self.parameters} parameters, {self.security_bits} bits, "
            f"warden {simulated(self.warden)}>"
        )


@dataclass(frozen=True)
class Upload:
    """Rows that were stored: what :meth:`blindsmith.Project.push` gives."""

    upload: str
    rows: int
    bytes: int
    new: bool
    era: int
    clipped_values: int
    warden: str | None
    strip: int | None = None
    clipped: list[dict[str, Any]] = field(default_factory=list)
    clipped_targets: list[dict[str, Any]] = field(default_factory=list)
    differing: list[dict[str, Any]] = field(default_factory=list)
    unknown: list[dict[str, Any]] = field(default_factory=list)
    filled: list[dict[str, Any]] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<Upload {self.upload[:16]}: {self.rows} rows, {self.bytes} bytes, warden {simulated(self.warden)}>"


@dataclass(frozen=True)
class Round:
    """A round: its decision, and what the model achieved over the validation rows.

    ``validation`` has the figures that the owner's key opens, such as ``loss``, ``accuracy``, ``f1_macro`` and ``r2``; it is
    None where nothing judges, or without that key.
    """

    round: int
    decision: str
    current: int
    uploads: int
    rows: int
    steps: int
    seconds: float
    cloud_seconds: float
    warden_seconds: float
    trials: int
    at: int
    asked: bool
    failure: str | None = None
    loss_before: float | None = None
    training_loss: list[float] | None = None
    validation: dict[str, Any] | None = None
    quarantined: list[dict[str, str]] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    contributors: list[dict[str, Any]] = field(default_factory=list)

    @property
    def accuracy(self) -> float | None:
        """Share of right classes over the validation rows."""
        return None if self.validation is None else self.validation.get("accuracy")

    @property
    def loss(self) -> float | None:
        """Loss over the validation rows."""
        return None if self.validation is None else self.validation.get("loss")

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers of a round by name, as trackers of experiments take them."""
        numbers = {"rows": self.rows, "steps": self.steps, "seconds": self.seconds, "version": self.current}
        if self.training_loss:
            numbers["training_loss"] = self.training_loss[-1]
        for name, value in (self.validation or {}).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                numbers[f"validation_{name}"] = value
        return {name: float(value) for name, value in numbers.items()}

    def __repr__(self) -> str:
        figures = f", loss {_share(self.loss)}, accuracy {_share(self.accuracy)}" if self.validation else ""
        return f"<Round {self.round}: {self.decision}, version {self.current}, {self.rows} rows{figures}>"


@dataclass(frozen=True)
class Status:
    """A project as its owner sees it."""

    project: str
    name: str
    warden: str | None
    ready: bool
    busy: bool
    queued: int
    failure: str | None
    uploads: list[dict[str, Any]]
    rounds: list[Round]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rounds", [r if isinstance(r, Round) else of(Round, r) for r in self.rounds])

    def __repr__(self) -> str:
        state = "busy" if self.busy else "idle"
        return (
            f"<Status of {self.name!r}: warden {simulated(self.warden)}, {state}, {len(self.uploads)} uploads, "
            f"{len(self.rounds)} rounds>"
        )


@dataclass(frozen=True)
class History:
    """The rounds of a project in their order; the first is the release of the initial model."""

    name: str
    warden: str | None
    rounds: list[Round]

    def __len__(self) -> int:
        return len(self.rounds)

    def __getitem__(self, index: int) -> Round:
        return self.rounds[index]

    def __iter__(self) -> Iterator[Round]:
        return iter(self.rounds)

    @property
    def current(self) -> int:
        """The version that is current."""
        return self.rounds[-1].current if self.rounds else 0

    def curve(self, figure: str | None = None) -> list[tuple[int, float]]:
        """Rounds with a figure over the validation rows: accuracy where there is one, else the loss."""
        found = [r for r in self.rounds if r.validation]
        if figure is None:
            figure = "accuracy" if any(r.accuracy is not None for r in found) else "loss"
        values = [(r.round, (r.validation or {}).get(figure)) for r in found]
        return [(number, float(value)) for number, value in values if value is not None]

    def __repr__(self) -> str:
        lines = [f"History of {self.name!r}, warden {simulated(self.warden)}, current version {self.current}"]
        lines.append("round  decision     version      rows    loss  accuracy")
        for r in self.rounds:
            lines.append(
                f"{r.round:>5}  {r.decision:<11}  {r.current:>7}  {r.rows:>8}  {_share(r.loss):>6}  {_share(r.accuracy):>8}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        cells = [
            f"<tr><td>{r.round}</td><td>{html.escape(r.decision)}</td><td>{r.current}</td><td>{r.rows}</td>"
            f"<td>{_share(r.loss)}</td><td>{_share(r.accuracy)}</td></tr>"
            for r in self.rounds
        ]
        head = "".join(f"<th>{name}</th>" for name in ("round", "decision", "version", "rows", "loss", "accuracy"))
        return (
            f"<div><b>{html.escape(self.name)}</b>, warden {simulated(self.warden)}{curve(self.curve())}"
            f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(cells)}</tbody></table></div>"
        )


def curve(points: list[tuple[int, float]], width: int = 360, height: int = 120) -> str:
    """A learning curve as inline SVG; nothing of fewer than two points.

    >>> curve([(0, 0.2), (1, 0.9)]).startswith("<svg")
    True
    """
    if len(points) < 2:
        return ""
    rounds, values = [number for number, _ in points], [value for _, value in points]
    low, high = min(values), max(values)
    span, wide = (high - low) or 1.0, (rounds[-1] - rounds[0]) or 1
    at = [
        (44 + (width - 54) * (number - rounds[0]) / wide, 10 + (height - 30) * (high - value) / span)
        for number, value in points
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="currentColor"/>' for x, y in at)
    text = 'font-size="10" fill="currentColor"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img">'
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="1.5"/>{dots}'
        f'<text x="2" y="14" {text}>{high:.3f}</text><text x="2" y="{height - 20}" {text}>{low:.3f}</text>'
        f'<text x="44" y="{height - 4}" {text}>round {rounds[0]}</text>'
        f'<text x="{width - 54}" y="{height - 4}" {text}>round {rounds[-1]}</text></svg>'
    )


@dataclass(frozen=True)
class Predictions:
    """Predictions, a row for each row asked.

    ``columns`` maps names to arrays: for classes the label's name to the predicted class and ``p(CLASS)`` to probabilities; for
    several labels ``p(LABEL)``; for a regression the targets in their units. Identifiers of rows come first.
    """

    columns: dict[str, Any]
    rows: int
    warden: str
    accuracy: float | None
    clipped_values: int
    task: str
    labels: list[str]
    classes: list[str] | None

    @property
    def values(self) -> Any:
        """The predicted classes (rows), or the targets or probabilities of labels (rows, or rows x labels)."""
        if self.task == "classify":
            return self.columns[self.labels[0]]
        names = self.labels if self.task == "regress" else [f"p({label})" for label in self.labels]
        found = np.column_stack([self.columns[name] for name in names])
        return found[:, 0] if len(names) == 1 else found

    @property
    def probabilities(self) -> Any:
        """Probabilities, rows x classes or rows x labels."""
        if self.task == "regress":
            raise AttributeError("a regression predicts no probabilities")
        names = self.classes if self.task == "classify" and self.classes else self.labels
        return np.column_stack([self.columns[f"p({name})"] for name in names])

    def __len__(self) -> int:
        return self.rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self.values, dtype=dtype)

    def to_pandas(self) -> Any:
        """A data frame; needs pandas."""
        import pandas

        return pandas.DataFrame(self.columns)

    def __repr__(self) -> str:
        accuracy = "" if self.accuracy is None else f", accuracy {self.accuracy:.4f}"
        return f"<Predictions of {self.rows} rows{accuracy}, warden {simulated(self.warden)}: {list(self.columns)}>"

    def _repr_html_(self) -> str:
        names = list(self.columns)
        shown = min(self.rows, 10)
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_cell(self.columns[name][i]))}</td>" for name in names) + "</tr>"
            for i in range(shown)
        )
        more = f"<p>and {self.rows - shown} more rows</p>" if self.rows > shown else ""
        return (
            f"<div>{html.escape(repr(self)[1:-1].partition(':')[0])}<table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>{more}</div>"
        )


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, (float, np.floating)) else str(value)


@dataclass(frozen=True)
class Receipts:
    """What the warden's signed receipts say; :meth:`blindsmith.Project.verify` says whether they hold."""

    project: str
    warden: str
    key: str
    rounds: list[dict[str, Any]]
    faults: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.rounds)

    def __repr__(self) -> str:
        return f"<Receipts of {len(self.rounds)} rounds, not verified, warden {simulated(self.warden)}>"


@dataclass(frozen=True)
class Verdict:
    """What receipts prove. It is true only if every check passed."""

    valid: bool
    rounds: int
    proven: list[str]
    not_proven: list[str]
    first_fault: dict[str, Any] | None = None
    model: dict[str, Any] | None = None

    def __bool__(self) -> bool:
        return self.valid and (self.model is None or self.model["round"] is not None)

    def __repr__(self) -> str:
        if self.first_fault:
            return f"<Verdict: NOT VALID, at round {self.first_fault['round']}: {self.first_fault['what']}>"
        model = "" if self.model is None else f", the model of version {self.model['round']}"
        return f"<Verdict: VALID, {self.rounds} rounds after the release{model}>"

    def _repr_html_(self) -> str:
        def items(lines: list[str]) -> str:
            return "".join(f"<li>{html.escape(line)}</li>" for line in lines)

        return (
            f"<div><b>{html.escape(repr(self)[1:-1])}</b><p>proven</p><ul>{items(self.proven)}</ul>"
            f"<p>not proven</p><ul>{items(self.not_proven)}</ul></div>"
        )


@dataclass(frozen=True)
class Member:
    """A member of a project."""

    member: str
    name: str
    role: str
    revoked: bool
    quota: dict[str, int]

    def __repr__(self) -> str:
        revoked = ", REVOKED" if self.revoked else ""
        return f"<Member {self.member[:16]}: {self.name!r}, {self.role.lower()}{revoked}>"


@dataclass(frozen=True)
class Membership:
    """Your standing in somebody else's project."""

    member: str
    terms: str
    enrolled: bool
    role: str | None
    warden: str | None

    def __repr__(self) -> str:
        standing = "enrolled" if self.enrolled else ("invited" if self.role else "not invited yet")
        return f"<Membership {self.member[:16]}: {standing}, warden {simulated(self.warden)}>"
