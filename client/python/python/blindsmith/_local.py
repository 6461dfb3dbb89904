"""A refinery and a SIMULATED warden as child processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

from . import _native
from .errors import BlindsmithError, SimulatedWarning
from .project import Project

WORDS = "the warden is SIMULATED: whoever runs it can read the secrets released to it. It is for trying things out"


def programs() -> Path:
    """The folder of the refinery and the warden: in the package, or where ``BLINDSMITH_PROGRAMS`` says."""
    folder = os.environ.get("BLINDSMITH_PROGRAMS")
    path = Path(folder) if folder else Path(__file__).parent / "_bin"
    if not (path / "blindsmith-warden").is_file():
        raise BlindsmithError(
            f"there is no refinery in {path}: this wheel has the client alone. Give the address of a refinery that runs, "
            "or set BLINDSMITH_PROGRAMS to the folder of the programs"
        )
    return path


class Local:
    """A refinery and a SIMULATED warden on this machine: what :func:`blindsmith.local` gives.

    Give it as ``refinery`` to :meth:`blindsmith.Project.init`, or call :meth:`init`.
    """

    def __init__(self, directory: Path, temporary: bool) -> None:
        self.directory = directory
        self._temporary = temporary
        self._projects = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    @property
    def refinery(self) -> str:
        """The refinery's socket."""
        return str(self.directory / "refinery" / "refinery.sock")

    def _start(self) -> None:
        serve = Path(__file__).with_name("_serve.py")
        command = [sys.executable, "-I", str(serve), str(programs()), str(self.directory)]
        # A session of its own: Ctrl-C in a terminal is for the operation, not for the services.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        deadline = time.monotonic() + 60
        socket = Path(self.refinery)
        while not _native.is_ready(socket, True):
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = self._logs()
                self.close()
                raise BlindsmithError(f"refinery and warden did not start:\n{words}")
            time.sleep(0.01)

    def _logs(self) -> str:
        logs = [self.directory / f"{name}.log" for name in ("refinery", "warden")]
        return "\n".join(log.read_text(errors="replace")[-2000:] for log in logs if log.exists())

    def init(self, data: Any, labels: Any = None, *, dir: str | os.PathLike[str] | None = None, **settings: Any) -> Project:
        """A new project here; see :meth:`blindsmith.Project.init`. Without ``dir`` it is kept as long as this is."""
        if dir is None:
            self._projects += 1
            dir = self.directory / f"project-{self._projects}"
        return Project.init(dir, data, labels, refinery=self, **settings)

    def close(self) -> None:
        """Ends refinery and warden. Files stay if a directory was given, and are removed if none was."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Local:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __deepcopy__(self, _: dict[int, Any]) -> Local:
        # Processes have no copies: scikit-learn copies the parameters of estimators.
        return self

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None:
            self.close()

    def __repr__(self) -> str:
        state = "ended" if self._process is None else f"refinery at {self.refinery}"
        return f"<blindsmith.Local: warden SIMULATED, {state}>"


def local(dir: str | os.PathLike[str] | None = None) -> Local:
    """Starts a refinery and a SIMULATED warden as child processes; they end with the context.

    Parameters
    ----------
    dir
        Where they keep their files; another call with this directory goes on with them. Without, they are in a temporary
        directory and removed at the end.

    >>> import blindsmith, warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", blindsmith.SimulatedWarning)
    ...     with blindsmith.local() as service:
    ...         "SIMULATED" in repr(service)
    True
    """
    warnings.warn(WORDS, SimulatedWarning, stacklevel=2)
    if dir is None:
        # Sockets have short names.
        return Local(Path(tempfile.mkdtemp(prefix="blindsmith-")), temporary=True)
    path = Path(dir)
    path.mkdir(parents=True, exist_ok=True)
    return Local(path.resolve(), temporary=False)
