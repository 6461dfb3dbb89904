"""Estimators of scikit-learn that are trained on encrypted rows.

>>> import warnings, blindsmith
>>> from blindsmith.sklearn import EncryptedClassifier
>>> from sklearn.datasets import load_iris
>>> warnings.simplefilter("ignore", blindsmith.SimulatedWarning)
>>> rows, labels = load_iris(return_X_y=True)
>>> EncryptedClassifier(hidden=(8,)).fit(rows, labels).score(rows, labels) > 0.8
True
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Sequence, cast

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ._local import Local, local
from .project import Project

__all__ = ["EncryptedClassifier", "EncryptedRegressor"]

_shared: dict[int, Local] = {}


def _service() -> Local:
    """The local refinery of this process, with a SIMULATED warden, which all estimators share that name no refinery."""
    process = os.getpid()
    if process not in _shared:
        _shared.clear()
        _shared[process] = local()
        atexit.register(_shared[process].close)
    return _shared[process]


class _Encrypted(BaseEstimator):
    _task = "classify"

    def __init__(
        self,
        refinery: Any = None,
        *,
        hidden: Sequence[int] = (32,),
        activation: str = "gelu",
        epochs: int | None = None,
        batch_rows: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        optimiser: str = "nesterov",
        random_state: int = 0,
        policy: Any = None,
        accept_simulated: bool = False,
        ca: Any = None,
        dir: Any = None,
    ) -> None:
        self.refinery = refinery
        self.hidden = hidden
        self.activation = activation
        self.epochs = epochs
        self.batch_rows = batch_rows
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.optimiser = optimiser
        self.random_state = random_state
        self.policy = policy
        self.accept_simulated = accept_simulated
        self.ca = ca
        self.dir = dir

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Encryption draws fresh randomness, and rows are shuffled before they are sent.
        tags.non_deterministic = True
        return tags

    def _begin(self, rows: Any, targets: Any, **settings: Any) -> None:
        refinery = _service() if self.refinery is None else self.refinery
        if self.dir is None:
            directory = Path(tempfile.mkdtemp(prefix="blindsmith-estimator-")) / "project"
            atexit.register(shutil.rmtree, directory.parent, ignore_errors=True)
        else:
            directory = Path(self.dir)
        if self.policy is not None:
            settings["policy"] = self.policy
        settings["accept_simulated"] = self.accept_simulated
        self._project = Project.init(
            directory,
            rows,
            targets,
            refinery=refinery,
            ca=self.ca,
            task=self._task,
            hidden=list(self.hidden),
            activation=self.activation,
            epochs=self.epochs,
            batch_rows=self.batch_rows,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            optimiser=self.optimiser,
            seed=0 if self.random_state is None else int(self.random_state),
            # Rows are all the caller's: there is nobody to be screened.
            screening=0.0,
            # Rows are pushed once, and their round is waited for.
            manual=True,
            name=type(self).__name__,
            **settings,
        )
        self.project_dir_ = str(self._project.dir)

    def _train(self, rows: Any, targets: Any) -> None:
        # The same rows twice are what partial_fit is asked for by whoever calls it twice.
        self.project_.push(rows, targets, again=True, progress=False)
        self.project_.refine(progress=False)

    @property
    def project_(self) -> Project:
        """The project, which has the keys: they are in its directory, and in no pickle."""
        check_is_fitted(self, "project_dir_")
        found = self.__dict__.get("_project")
        if found is None:
            refinery = self.refinery
            found = self._project = Project.open(self.project_dir_, refinery=refinery, ca=self.ca)
        return found

    def _predicted(self, rows: Any) -> Any:
        check_is_fitted(self, "project_dir_")
        rows = validate_data(self, rows, reset=False, dtype=[np.float64, np.float32])
        return self.project_.predict(rows, progress=False)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {**cast(Any, super().__getstate__())}
        # The directory has the keys. A copy of this without it predicts nothing.
        state.pop("_project", None)
        if isinstance(state.get("refinery"), Local):
            state["refinery"] = state["refinery"].refinery
        return state


class EncryptedClassifier(ClassifierMixin, _Encrypted):
    """A neural network that learns classes from encrypted rows.

    Parameters
    ----------
    refinery
        Where rows are trained on, as for :meth:`blindsmith.Project.init`. None starts one on this machine with a SIMULATED
        warden, which all estimators of the process share.
    hidden, activation, epochs, batch_rows, learning_rate, weight_decay, optimiser
        As for :meth:`blindsmith.Project.init`.
    random_state
        Seed of the initial weights and of the order of rows in training; encryption never uses it.
    policy, accept_simulated, ca
        Which wardens are trusted, and certificates of the refinery.
    dir
        The project's directory; a temporary one, removed at the end of the process, if none is given. Only one fit can use it.

    Attributes
    ----------
    classes_
        The classes, in their order.
    project_
        The :class:`blindsmith.Project`.
    """

    def fit(self, X: Any, y: Any) -> EncryptedClassifier:
        """Creates a project, pushes all rows and waits for a round. X is rows x features, y has a class for each row."""
        return self._fit(X, y, None, anew=True)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> EncryptedClassifier:
        """Pushes more rows and waits for a round, which trains on the earlier ones too. The first call names all classes."""
        return self._fit(X, y, classes, anew=not hasattr(self, "project_dir_"))

    def _fit(self, X: Any, y: Any, classes: Any, anew: bool) -> EncryptedClassifier:
        X, y = validate_data(self, X, y, reset=anew, dtype=[np.float64, np.float32], ensure_min_samples=2 if anew else 1)
        check_classification_targets(y)
        if anew:
            self.classes_ = np.unique(y) if classes is None else np.unique(np.asarray(classes))
            if len(self.classes_) < 2:
                raise ValueError("a classifier learns two classes at least, and there is one class in y")
        index = np.searchsorted(self.classes_, y)
        index = np.minimum(index, len(self.classes_) - 1)
        if not (self.classes_[index] == y).all():
            raise ValueError("y has a class that was not named when training began")
        if anew:
            self._begin(X, index, classes=[str(i) for i in range(len(self.classes_))])
        self._train(X, index)
        return self

    def predict(self, X: Any) -> Any:
        """The class of each row, predicted encrypted."""
        # Of the rounded probabilities, so that it is what predict_proba says.
        found = self._predicted(X).probabilities.argmax(axis=1)
        return self.classes_[found]

    def predict_proba(self, X: Any) -> Any:
        """Probabilities, rows x classes, predicted encrypted and rounded as the project's rules say."""
        found = self._predicted(X).probabilities
        return found / found.sum(axis=1, keepdims=True)


class EncryptedRegressor(RegressorMixin, _Encrypted):
    """A neural network that learns numbers from encrypted rows; see :class:`EncryptedClassifier` for the parameters."""

    _task = "regress"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.single_output = True
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> EncryptedRegressor:
        """Creates a project, pushes all rows and waits for a round. y is rows, or rows x targets."""
        return self._fit(X, y, anew=True)

    def partial_fit(self, X: Any, y: Any) -> EncryptedRegressor:
        """Pushes more rows and waits for a round, which trains on the earlier ones too."""
        return self._fit(X, y, anew=not hasattr(self, "project_dir_"))

    def _fit(self, X: Any, y: Any, anew: bool) -> EncryptedRegressor:
        X, y = validate_data(
            self,
            X,
            y,
            reset=anew,
            dtype=[np.float64, np.float32],
            multi_output=True,
            y_numeric=True,
            ensure_min_samples=2 if anew else 1,
        )
        y = np.asarray(y, np.float64)
        if anew:
            self._begin(X, y)
        self._train(X, y)
        return self

    def predict(self, X: Any) -> Any:
        """The targets of each row in their units, predicted encrypted: rows, or rows x targets."""
        return self._predicted(X).values
