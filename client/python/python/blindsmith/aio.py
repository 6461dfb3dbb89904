"""The same for asyncio: :class:`Project` has the methods of :class:`blindsmith.Project` as coroutines.

An operation that is cancelled ends within about a tenth of a second, and nothing of it counts.

>>> import asyncio, warnings, blindsmith.aio
>>> warnings.simplefilter("ignore", blindsmith.SimulatedWarning)
>>> async def main():
...     async with blindsmith.aio.local() as service:
...         project = await service.init([[0.0, 1.0], [1.0, 0.0]] * 20, [0, 1] * 20, hidden=[])
...         return (await project.push([[0.1, 1.0], [1.0, 0.2]] * 20, [0, 1] * 20)).rows
>>> asyncio.run(main())
40
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, AsyncIterator, Callable, TypeVar

from . import _local, _native, project as _project
from .model import Model
from .results import History, Member, Membership, Predictions, Receipts, Round, Status, Upload, Verdict

__all__ = ["Local", "Project", "local"]

_T = TypeVar("_T")


async def _run(operation: Callable[..., _T], *arguments: Any, **named: Any) -> _T:
    """Runs an operation in a thread, and ends it if this is cancelled."""
    cancel = _native.Cancel()

    def run() -> _T:
        _project.cancel.set(cancel)
        return operation(*arguments, **named)

    task = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        cancel.cancel()
        # The thread ends first: what it uses is not taken away beneath it.
        await asyncio.wait([task])
        task.exception()
        raise


class Project:
    """See :class:`blindsmith.Project`; ``sync`` is that."""

    def __init__(self, sync: _project.Project) -> None:
        self.sync = sync

    @classmethod
    async def open(cls, dir: str | os.PathLike[str], **where: Any) -> Project:
        """See :meth:`blindsmith.Project.open`."""
        return cls(await _run(_project.Project.open, dir, **where))

    @classmethod
    async def init(cls, dir: str | os.PathLike[str], data: Any, labels: Any = None, **settings: Any) -> Project:
        """See :meth:`blindsmith.Project.init`."""
        return cls(await _run(_project.Project.init, dir, data, labels, **_sync(settings)))

    @classmethod
    async def join(cls, dir: str | os.PathLike[str], invitation: Any = None, **settings: Any) -> Project:
        """See :meth:`blindsmith.Project.join`."""
        return cls(await _run(_project.Project.join, dir, invitation, **_sync(settings)))

    async def push(self, data: Any, labels: Any = None, **options: Any) -> Upload:
        """See :meth:`blindsmith.Project.push`."""
        return await _run(self.sync.push, data, labels, **options)

    async def predict(self, data: Any, **options: Any) -> Predictions:
        """See :meth:`blindsmith.Project.predict`."""
        return await _run(self.sync.predict, data, **options)

    async def status(self) -> Status:
        """See :meth:`blindsmith.Project.status`."""
        return await _run(self.sync.status)

    async def wait(self, **options: Any) -> Round | None:
        """See :meth:`blindsmith.Project.wait`."""
        return await _run(self.sync.wait, **options)

    async def refine(self, epochs: int | None = None, **options: Any) -> Round | None:
        """See :meth:`blindsmith.Project.refine`."""
        return await _run(self.sync.refine, epochs, **options)

    async def rounds(self, *, follow: bool = False) -> AsyncIterator[Round]:
        """See :meth:`blindsmith.Project.rounds`."""
        seen = 0
        while True:
            found = await self.status()
            for ended in found.rounds[seen:]:
                yield ended
            seen = len(found.rounds)
            if not (follow and found.busy and found.ready and found.warden):
                return
            await asyncio.sleep(0.2)

    async def history(self) -> History:
        """See :meth:`blindsmith.Project.history`."""
        return await _run(self.sync.history)

    async def pull(self, version: int | None = None) -> Model:
        """See :meth:`blindsmith.Project.pull`."""
        return await _run(self.sync.pull, version)

    async def receipts(self, path: Any = None) -> Receipts:
        """See :meth:`blindsmith.Project.receipts`."""
        return await _run(self.sync.receipts, path)

    async def verify(self, model: Any = None, **options: Any) -> Verdict:
        """See :meth:`blindsmith.Project.verify`."""
        return await _run(self.sync.verify, model, **options)

    async def members(self) -> list[Member]:
        """See :meth:`blindsmith.Project.members`."""
        return await _run(self.sync.members)

    async def enrol(self) -> Membership:
        """See :meth:`blindsmith.Project.enrol`."""
        return await _run(self.sync.enrol)

    async def invite(self, member: str, name: str = "member", role: str = "contributor") -> int:
        """See :meth:`blindsmith.Project.invite`."""
        return await _run(self.sync.invite, member, name, role)

    async def revoke(self, member: str) -> int:
        """See :meth:`blindsmith.Project.revoke`."""
        return await _run(self.sync.revoke, member)

    async def rollback(self, version: int) -> int:
        """See :meth:`blindsmith.Project.rollback`."""
        return await _run(self.sync.rollback, version)

    async def readmit(self, upload: str) -> int:
        """See :meth:`blindsmith.Project.readmit`."""
        return await _run(self.sync.readmit, upload)

    async def forgive(self) -> int:
        """See :meth:`blindsmith.Project.forgive`."""
        return await _run(self.sync.forgive)

    async def withdraw(self, upload: str) -> None:
        """See :meth:`blindsmith.Project.withdraw`."""
        await _run(self.sync.withdraw, upload)

    def __repr__(self) -> str:
        return repr(self.sync)

    def _repr_html_(self) -> str:
        return self.sync._repr_html_()


def _sync(settings: dict[str, Any]) -> dict[str, Any]:
    refinery = settings.get("refinery")
    return {**settings, "refinery": refinery.sync} if isinstance(refinery, Local) else settings


class Local:
    """See :class:`blindsmith.Local`, which ``sync`` is once this was entered."""

    def __init__(self, dir: str | os.PathLike[str] | None = None) -> None:
        self._dir = dir
        self._sync: _local.Local | None = None

    @property
    def sync(self) -> _local.Local:
        """The same without asyncio."""
        if self._sync is None:
            raise RuntimeError("enter it first: async with blindsmith.aio.local() as service")
        return self._sync

    @property
    def refinery(self) -> str:
        """The refinery's socket."""
        return self.sync.refinery

    async def init(self, data: Any, labels: Any = None, **settings: Any) -> Project:
        """See :meth:`blindsmith.Local.init`."""
        return Project(await _run(self.sync.init, data, labels, **settings))

    async def __aenter__(self) -> Local:
        self._sync = await _run(_local.local, self._dir)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.sync.close)

    def __repr__(self) -> str:
        return repr(self._sync) if self._sync else "<blindsmith.aio.Local: SIMULATED, not started>"


def local(dir: str | os.PathLike[str] | None = None) -> Local:
    """See :func:`blindsmith.local`: ``async with blindsmith.aio.local() as service``."""
    return Local(dir)
