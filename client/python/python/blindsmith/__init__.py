"""Blindsmith: trains a neural network in a cloud that can read neither the network nor the data.

>>> import blindsmith, warnings
>>> from sklearn.datasets import load_iris
>>> rows, labels = load_iris(return_X_y=True)
>>> warnings.simplefilter("ignore", blindsmith.SimulatedWarning)
>>> with blindsmith.local() as service:
...     project = service.init(rows, labels, hidden=[8])
...     _ = project.push(rows, labels)
...     ended = project.wait()
...     project.predict(rows[:2]).rows
2

``local()`` runs a SIMULATED warden, for trying things out: whoever runs it can read the secrets released to it.
"""

from . import _native
from ._local import Local, local
from .embedding import embedding
from .errors import (
    BlindsmithError,
    DataError,
    KeysError,
    NotProvenError,
    NotTrustedError,
    ProjectError,
    RefusedError,
    RepeatedRowsError,
    SettingsError,
    SimulatedWarning,
    UnreachableError,
)
from .model import Model
from .progress import listeners
from .project import Project
from .proofs import verify
from .results import (
    Created,
    History,
    Member,
    Membership,
    Predictions,
    Progress,
    Receipts,
    Round,
    Status,
    Upload,
    Verdict,
)

__version__: str = _native.VERSION

__all__ = [
    "BlindsmithError",
    "Created",
    "DataError",
    "History",
    "KeysError",
    "Local",
    "Member",
    "Membership",
    "Model",
    "NotProvenError",
    "NotTrustedError",
    "Predictions",
    "Progress",
    "Project",
    "ProjectError",
    "Receipts",
    "RefusedError",
    "RepeatedRowsError",
    "Round",
    "SettingsError",
    "SimulatedWarning",
    "Status",
    "UnreachableError",
    "Upload",
    "Verdict",
    "embedding",
    "listeners",
    "local",
    "verify",
]
