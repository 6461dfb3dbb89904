"""What can go wrong: a class for each exit code of the command line.

``code`` is that exit code, so that a script can end with it.
"""

from __future__ import annotations

__all__ = [
    "BlindsmithError",
    "DataError",
    "KeysError",
    "NotProvenError",
    "NotTrustedError",
    "ProjectError",
    "RefusedError",
    "RepeatedRowsError",
    "SettingsError",
    "SimulatedWarning",
    "UnreachableError",
]


class BlindsmithError(Exception):
    """Any failure of an operation."""

    code = 1


class SettingsError(BlindsmithError, ValueError):
    """Settings that do not go together, or are out of their range."""

    code = 2


class RepeatedRowsError(SettingsError):
    """Rows that were pushed from this directory before: ``again=True`` pushes them once more."""


class DataError(BlindsmithError, ValueError):
    """Rows, or a file, that cannot be used. Nothing was sent."""

    code = 3


class UnreachableError(BlindsmithError, ConnectionError):
    """No refinery answers, or the connection broke."""

    code = 4


class RefusedError(BlindsmithError):
    """The refinery or the warden refused, or a round failed."""

    code = 5


class NotTrustedError(BlindsmithError):
    """The warden is not one to trust. No secret was released to it."""

    code = 6


class KeysError(BlindsmithError):
    """This directory's keys do not open what came."""

    code = 7


class ProjectError(BlindsmithError, OSError):
    """Files of the project, a policy or receipts that cannot be read or written."""

    code = 8


class NotProvenError(BlindsmithError):
    """Receipts, orders or a model that do not verify."""

    code = 9


class SimulatedWarning(UserWarning):
    """The warden is SIMULATED: whoever runs it can read the secrets released to it."""
