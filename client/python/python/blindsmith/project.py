"""A project: a directory with keys and settings, and a refinery that trains on its encrypted rows."""

from __future__ import annotations

import contextvars
import json
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence

from . import _data, _native, progress as _progress
from .errors import RefusedError, SimulatedWarning
from .model import Model, is_sequential, of_sequential
from .results import (
    Created,
    History,
    Member,
    Membership,
    Predictions,
    Receipts,
    Round,
    Status,
    Upload,
    Verdict,
    of,
    simulated,
)

if TYPE_CHECKING:
    from ._local import Local

__all__ = ["Project"]

#: Ends what runs in a thread of `blindsmith.aio`.
cancel: contextvars.ContextVar[_native.Cancel | None] = contextvars.ContextVar("cancel", default=None)

_READING = ("no_header", "delimiter", "decimal_comma", "ignore", "missing")


def _reading(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: settings.pop(name) for name in _READING if name in settings}


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(value)] if isinstance(value, (str, int)) else [str(each) for each in value]


def _where(refinery: Any) -> str | None:
    """The address or the socket of a refinery, or of what `local` gave."""
    found = getattr(refinery, "refinery", refinery)
    return None if found is None else os.fspath(found)


def _trust(settings: dict[str, Any], local: bool) -> dict[str, Any]:
    collateral = [os.fspath(path) for path in settings.pop("collateral", [])]
    policy = settings.pop("policy", None)
    return {
        "accept_simulated": bool(settings.pop("accept_simulated", False)) or (local and policy is None),
        "policy": None if policy is None else os.fspath(policy),
        "collateral": collateral,
        "kem": settings.pop("kem", "x-wing"),
    }


class Project:
    """A project's directory, opened: ``Project(dir)`` or :meth:`open`, :meth:`init` for a new one, :meth:`join` for a member's.

    Every method connects for itself, so that projects may be used from several threads.

    Parameters
    ----------
    dir
        The directory, as ``blindsmith init`` or :meth:`init` made it.
    refinery
        Where the refinery is, if not where the directory records it: ``http(s)://HOST[:PORT]``, a socket's path, or what
        :func:`blindsmith.local` gives.
    ca
        Certificates (PEM) that lead to the refinery's, if the system's do not.
    """

    def __init__(
        self, dir: str | os.PathLike[str], *, refinery: str | Local | None = None, ca: str | os.PathLike[str] | None = None
    ) -> None:
        self.dir = Path(dir)
        self._place = (self.dir, _where(refinery), None if ca is None else Path(ca))
        self._record: dict[str, Any] = json.loads(_native.record(self._place))
        self._heard = -1
        #: What :meth:`init` said of the new project; None of one that was opened.
        self.created: Created | None = None
        #: Called with each round that ended while a method waited.
        self.on_round: list[Callable[[Round], Any]] = []

    @classmethod
    def open(
        cls, dir: str | os.PathLike[str], *, refinery: str | Local | None = None, ca: str | os.PathLike[str] | None = None
    ) -> Project:
        """Opens a project's directory."""
        return cls(dir, refinery=refinery, ca=ca)

    @classmethod
    def init(
        cls,
        dir: str | os.PathLike[str],
        data: Any,
        labels: Any = None,
        *,
        refinery: str | Local,
        label: str | Sequence[str] | None = None,
        task: str = "classify",
        hidden: Sequence[int] | None = None,
        model: Any = None,
        ca: str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> Project:
        """Creates a project from its first rows, which fix columns, classes and standardisation. They are not sent.

        Parameters
        ----------
        dir
            The project's directory, which must not hold a project.
        data
            Rows x columns: an array, a data frame, anything with the Arrow PyCapsule interface, or a path.
        labels
            Labels, if they are no columns of ``data``: rows, or rows x labels; a path where ``data`` is one.
        refinery
            Where the refinery is; see :class:`Project`.
        label
            The label column of ``data``; several for the tasks multi-label and regress.
        task
            ``classify``, ``multi-label`` or ``regress``.
        hidden
            Widths of the hidden layers; ``[]`` for a linear model. Default ``[32]``.
        model
            A model to start from: a ``torch.nn.Sequential`` of ``Linear`` layers and one kind of activation, or the path of
            its safetensors. Its widths replace ``hidden``.
        settings
            Any option of ``blindsmith init`` by its name with underscores, such as ``epochs``, ``learning_rate``,
            ``class_weights``, ``classes``, ``category``, ``date``, ``id``, ``impute``, ``manual``, ``warm_epochs``;
            ``accept_simulated=True`` or ``policy`` (a file) say which wardens are trusted.

        Raises
        ------
        DataError
            If nothing can be learnt from the rows.
        NotTrustedError
            If the warden is not one to trust. Nothing was released then.
        """
        reading = _reading(settings)
        is_local = not isinstance(refinery, (str, os.PathLike))
        trust = _trust(settings, is_local)
        layers = None
        if model is not None and is_sequential(model):
            layers, activation = of_sequential(model)
            if activation is not None:
                settings.setdefault("activation", activation)
        elif model is not None:
            settings["model"] = os.fspath(model)
        names = _listed(label)
        source = _data.source(data, labels, label_names=names, reading=reading)
        if labels is not None and source.table is not None and source.labels is None and not names:
            names = (source.table.names or [])[-_data.table(labels, []).width :]
        for several in ("category", "date", "id", "impute"):
            if several in settings:
                settings[several] = _listed(settings[several])
        if settings.get("beyond") is not None:
            settings["beyond_refuse"] = settings.pop("beyond") == "refuse"
        told = {
            "dir": os.fspath(dir),
            "refinery": _where(refinery),
            "ca": None if ca is None else os.fspath(ca),
            "task": task,
            "label": names,
            "hidden": None if hidden is None else [int(width) for width in hidden],
            "trust": trust,
            **{name: os.fspath(v) if isinstance(v, os.PathLike) else v for name, v in settings.items()},
        }
        created = of(Created, json.loads(_native.init(json.dumps(told), source, layers)))
        if created.warden == "simulated" and not is_local:
            from ._local import WORDS

            warnings.warn(WORDS, SimulatedWarning, stacklevel=2)
        project = cls(dir, ca=ca)
        project.created = created
        return project

    @classmethod
    def join(
        cls,
        dir: str | os.PathLike[str],
        invitation: str | os.PathLike[str] | None = None,
        *,
        refinery: str | Local | None = None,
        ca: str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> Project:
        """Becomes a member of somebody else's project, whose ``project.json`` is the invitation.

        The first call makes a key, which :attr:`member` shows: the owner calls :meth:`invite` with it. Then :meth:`enrol` hands
        your seed to the warden. ``settings`` are the options of ``blindsmith join``, such as ``least_contributors``.
        """
        if invitation is not None:
            is_local = refinery is not None and not isinstance(refinery, (str, os.PathLike))
            trust = _trust(settings, is_local)
            told = {
                "dir": os.fspath(dir),
                "invitation": os.fspath(invitation),
                "refinery": _where(refinery),
                "trust": trust,
                **settings,
            }
            _native.join(json.dumps(told))
        return cls(dir, refinery=refinery, ca=ca)

    # What the directory records.

    @property
    def id(self) -> str:
        """The project's identifier."""
        return str(self._record["project"])

    @property
    def name(self) -> str:
        """Its name, which the refinery sees."""
        return str(self._record["name"])

    @property
    def task(self) -> str:
        """``classify``, ``multi-label`` or ``regress``."""
        return str(self._record["task"])

    @property
    def classes(self) -> list[str] | None:
        """The classes, for classification."""
        return self._record["classes"]

    @property
    def labels(self) -> list[str]:
        """The label columns' names."""
        return list(self._record["labels"])

    @property
    def columns(self) -> list[str]:
        """The columns that features are made of."""
        return list(self._record["columns"])

    @property
    def layers(self) -> list[int]:
        """Inputs, hidden layers, outputs."""
        return list(self._record["layers"])

    @property
    def warden(self) -> str | None:
        """The kind of the warden that was given this directory's secrets; None before."""
        found: str | None = json.loads(_native.record(self._place))["warden"]
        return found

    def __repr__(self) -> str:
        return f"<Project {self.name!r} in {self.dir}: {self.task}, {self.layers}, warden {simulated(self.warden)}>"

    def _repr_html_(self) -> str:
        return self.history()._repr_html_()

    # Rows.

    def _source(self, data: Any, labels: Any, reading: dict[str, Any]) -> _data.Source:
        unknown = [name for name in reading if name not in _READING]
        if unknown:
            raise TypeError(f"no such option: {unknown[0]!r}; those of reading are {', '.join(_READING)}")
        return _data.source(data, labels, label_names=self.labels, reading=reading)

    def push(
        self,
        data: Any,
        labels: Any = None,
        *,
        validation: bool = False,
        keep_order: bool = False,
        again: bool = False,
        era: int = 0,
        embed: Any = None,
        progress: _progress.Wanted = None,
        **reading: Any,
    ) -> Upload:
        """Standardises, encrypts and sends rows. One bad value refuses all of them before anything is encrypted.

        Parameters
        ----------
        data, labels
            As for :meth:`init`; the columns may be in another order. Arrays of float32 or float64 in row-major order are read
            where they are.
        validation
            The rows judge the model, and are never trained on.
        keep_order
            The rows are in random order already.
        again
            Push rows that were pushed before: they count twice.
        embed
            A function, or the path of an ONNX file, that makes features of ``data`` here, in the clear; see
            :func:`blindsmith.embedding`.

        Returns
        -------
        Upload
            What is stored. If the project starts rounds by itself, one is due now: :meth:`wait`.
        """
        if embed is not None:
            from .embedding import embedding

            data = embedding(embed)(data)
        source = self._source(data, labels, reading)
        options = json.dumps({"validation": validation, "keep_order": keep_order, "again": again, "era": era})
        with _progress.told(progress, "encrypting and sending") as tell:
            return of(Upload, json.loads(_native.push(self._place, source, options, tell, cancel.get())))

    def predict(
        self, data: Any, *, embed: Any = None, progress: _progress.Wanted = None, **reading: Any
    ) -> Predictions:
        """Encrypts rows under a fresh key and has the warden predict them: nobody else can read rows or answers.

        Labels among the columns are not sent; they give :attr:`Predictions.accuracy`.
        """
        if embed is not None:
            from .embedding import embedding

            data = embedding(embed)(data)
        source = self._source(data, None, reading)
        with _progress.told(progress, "encrypting and sending") as tell:
            names, columns, said = _native.predict(self._place, source, tell, cancel.get())
        import numpy as np

        arrays = {name: np.asarray(column) for name, column in zip(names, columns)}
        record = {name: self._record[name] for name in ("task", "labels", "classes")}
        return of(Predictions, {**json.loads(said), **record, "columns": arrays})

    # Rounds.

    def status(self) -> Status:
        """Uploads, rounds and their figures, and whether a round is running; the owner's orders are compared."""
        return of(Status, json.loads(_native.status(self._place)))

    def wait(self, *, progress: _progress.Wanted = None) -> Round | None:
        """Waits until no round is running or due; the last round, or None if there was none.

        Raises
        ------
        RefusedError
            If the last round failed, or no warden is there for one that is due.
        """
        with _progress.told(progress, "refining") as tell:
            found = of(Status, json.loads(_native.wait(self._place, tell, cancel.get())))
        self._tell(found.rounds)
        self._check(found)
        return found.rounds[-1] if found.rounds else None

    def refine(self, epochs: int | None = None, *, progress: _progress.Wanted = None) -> Round | None:
        """Asks for a round of so many epochs, or of the project's, and waits; see :meth:`wait`."""
        _native.request_round(self._place, epochs)
        return self.wait(progress=progress)

    def rounds(self, *, follow: bool = False) -> Iterator[Round]:
        """The rounds so far; with ``follow`` each that ends from now on too, until none is running or due."""
        seen = 0
        while True:
            found = self.status()
            for ended in found.rounds[seen:]:
                yield ended
            seen = len(found.rounds)
            if not (follow and found.busy and found.ready and found.warden):
                if follow:
                    self._tell(found.rounds)
                return
            time.sleep(0.2)

    def history(self) -> History:
        """The rounds so far, with the learning curve."""
        found = self.status()
        return History(found.name, found.warden or self.warden, found.rounds)

    def _tell(self, rounds: list[Round]) -> None:
        if self._heard < 0:
            self._heard = 0
        for ended in rounds:
            if ended.round > self._heard:
                self._heard = ended.round
                for hear in list(self.on_round):
                    hear(ended)
                for listen in list(_progress.listeners):
                    listen(self, ended)

    @staticmethod
    def _check(found: Status) -> None:
        if found.failure is not None:
            raise RefusedError(found.failure)
        last = found.rounds[-1] if found.rounds else None
        if last is not None and last.failure is not None and last.decision != "rolled-back":
            raise RefusedError(f"round {last.round} failed, and the model is the one before it: {last.failure}")
        if found.busy:
            raise RefusedError("a round is due, and no warden is connected: start blindsmith-warden")

    # Models and proofs.

    def pull(self, version: int | None = None) -> Model:
        """Verifies the receipts and fetches a version, the current one if none is named. Needs the owner's key."""
        return Model(_native.pull(self._place, version), self._record)

    def receipts(self, path: str | os.PathLike[str] | None = None) -> Receipts:
        """Fetches the warden's receipts, and keeps them in a file if one is named."""
        return of(Receipts, json.loads(_native.receipts(self._place, None if path is None else Path(path))))

    def verify(
        self, model: str | os.PathLike[str] | None = None, *, against: str | os.PathLike[str] | None = None
    ) -> Verdict:
        """Fetches the receipts and verifies them against the policy that this directory keeps.

        ``model`` is a file that :meth:`Model.save` wrote: the verdict says which receipt commits to it. ``against`` is a file of
        receipts from another time or person: both must tell the same history.
        """
        files = [None if path is None else Path(path) for path in (against, model)]
        return of(Verdict, json.loads(_native.verify(self._place, *files)))

    # Members and orders.

    def members(self) -> list[Member]:
        """The members, as the owner's signed orders make them."""
        return [of(Member, found) for found in json.loads(_native.members(self._place))]

    def enrol(self) -> Membership:
        """Hands a member's seed to the warden, if the owner invited it and the warden is one to trust; its standing."""
        return of(Membership, json.loads(_native.enrol(self._place)))

    @property
    def member(self) -> str:
        """A member's public key, which the owner invites."""
        return self.enrol().member

    def invite(self, member: str, name: str = "member", role: str = "contributor") -> int:
        """Invites a member by its public key; the order's number. Needs the owner's key."""
        return _native.invite(self._place, member, name, role)

    def revoke(self, member: str) -> int:
        """Revokes a member: its rows enter no further round. Needs the owner's key."""
        return _native.revoke(self._place, member)

    def rollback(self, version: int) -> int:
        """The next round makes that version current again; the order's number. Needs the owner's key."""
        return _native.rollback(self._place, version)

    def readmit(self, upload: str) -> int:
        """The next round tries a quarantined upload again. Needs the owner's key."""
        return _native.readmit(self._place, upload)

    def forgive(self) -> int:
        """Lets the warden work with the refinery again after too many wrong answers. Needs the owner's key."""
        return _native.forgive(self._place)

    def withdraw(self, upload: str) -> None:
        """Has the refinery delete the rows of an upload of yours. Models that were trained on it stay as they are."""
        _native.withdraw(self._place, upload)
