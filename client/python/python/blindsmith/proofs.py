"""Receipts in files, verified by anybody, offline."""

from __future__ import annotations

import json
import os
from pathlib import Path

from . import _native
from .results import Verdict, of

__all__ = ["verify"]


def verify(
    receipts: str | os.PathLike[str],
    policy: str | os.PathLike[str],
    *,
    against: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
) -> Verdict:
    """Verifies receipts against an owner's policy, offline; see :meth:`blindsmith.Project.verify`."""
    files = [None if path is None else Path(path) for path in (against, model)]
    return of(Verdict, json.loads(_native.verify_files(Path(receipts), Path(policy), *files)))
