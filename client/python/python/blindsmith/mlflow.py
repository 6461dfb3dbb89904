"""Rounds in MLflow: ``blindsmith.mlflow.autolog()``, then train. Needs mlflow or mlflow-skinny."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import progress
from .results import Round

if TYPE_CHECKING:
    from .project import Project

__all__ = ["autolog"]


def _log(project: Project, ended: Round) -> None:
    # By its name from outside: this module has it too.
    mlflow: Any = importlib.import_module("mlflow")
    if mlflow.active_run() is None:
        mlflow.start_run(run_name=project.name)
    if project.created is not None and ended.round == 1:
        made = project.created
        mlflow.log_params(
            {
                "project": made.project,
                "layers": str(made.layers),
                "batch_rows": made.batch_rows,
                "epochs": made.epochs,
                "weight_decay": made.weight_decay,
                "security_bits": made.security_bits,
                "warden": made.warden,
            }
        )
    mlflow.set_tag("decision", ended.decision)
    mlflow.log_metrics(ended.metrics, step=ended.round)


def autolog(disable: bool = False) -> None:
    """Logs every round that ends while a method waits: figures that the owner's key opens, with the round as step.

    A run is started if none is active. The figures are in the clear there, as in the owner's notebook.
    """
    if disable:
        progress.listeners[:] = [listener for listener in progress.listeners if listener is not _log]
    elif _log not in progress.listeners:
        progress.listeners.append(_log)
