"""Who hears how far operations are, and of rounds that ended.

``progress`` of an operation is None (bars where somebody looks, if tqdm is there), True, False, or a function that is given
:class:`blindsmith.Progress`.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Iterator, Union

from .results import Progress, Round

if TYPE_CHECKING:
    from .project import Project

Listener = Callable[["Project", Round], None]
Wanted = Union[None, bool, Callable[[Progress], Any]]

#: Called with the project and each round that ended while one of its methods waited.
listeners: list[Listener] = []


def _notebook() -> bool:
    return "ipykernel" in sys.modules


@contextmanager
def told(wanted: Wanted, what: str) -> Iterator[Callable[[int, int, int | None], None] | None]:
    """What the library calls while an operation runs."""
    if callable(wanted):
        tell = wanted
        yield lambda done, of, number: tell(Progress(done, of, what, number))
        return
    if wanted is False or (wanted is None and not (_notebook() or sys.stderr.isatty())):
        yield None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        if wanted:
            raise ImportError("progress=True needs tqdm: pip install tqdm") from None
        yield None
        return
    with tqdm(desc=what, leave=False) as bar:

        def show(done: int, of: int, number: int | None) -> None:
            if bar.total != of:
                bar.reset(of)
            if number is not None:
                bar.set_description(f"round {number}", refresh=False)
            bar.update(done - bar.n)

        yield show
