"""Models: fetched, saved, and as PyTorch has them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from . import _native

__all__ = ["Model"]

_ACTIVATIONS = {"ReLU": "relu", "GELU": "gelu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Identity": "identity"}


class Model:
    """A version of the model, in the clear: what :meth:`blindsmith.Project.pull` gives."""

    def __init__(self, native: _native.Model, record: dict[str, Any]) -> None:
        self._native = native
        self._record = record

    @property
    def version(self) -> int:
        """Its number."""
        return self._native.version

    @property
    def layers(self) -> list[tuple[Any, Any]]:
        """Weights (outputs x inputs, float32) and bias (outputs) of each layer, as ``torch.nn.Linear`` has them."""
        return self._native.layers

    @property
    def activations(self) -> list[str]:
        """Between layers: relu, gelu, tanh, sigmoid or identity."""
        return list(json.loads(self.metadata["blindsmith.activations"]))

    @property
    def metadata(self) -> dict[str, str]:
        """What its file says beside the weights."""
        return self._native.metadata

    @property
    def card(self) -> str:
        """A model card, as Markdown."""
        return self._native.card

    @property
    def features(self) -> list[str] | None:
        """Names of the features, where they have names."""
        return self._native.features

    def standardise(self, features: Any) -> Any:
        """Features (rows x features, as numbers) as the first layer takes them: (x - centre) / scale, clipped.

        A column that was constant in the first rows counts as 0.
        """
        centre, scale, factor = self._native.standardisation
        varies = scale > 0
        rows = (np.asarray(features, np.float64) - centre) / np.where(varies, scale, 1)
        return np.clip(np.where(varies, rows, 0), -factor, factor)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes safetensors, or an ONNX graph with the standardisation inside if the name ends in .onnx."""
        self._native.save(Path(path))
        return Path(path)

    def to_torch(self) -> Any:
        """A ``torch.nn.Sequential``: the standardisation, then layers and activations. Needs PyTorch.

        It takes features of float64 or float32, and gives logits, or the standardised targets of a regression.
        """
        import torch

        centre, scale, factor = self._native.standardisation

        class Standardise(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("centre", torch.tensor(np.asarray(centre), dtype=torch.float64))
                self.register_buffer("scale", torch.tensor(np.asarray(scale), dtype=torch.float64))

            def forward(self, x: Any) -> Any:
                rows = torch.where(self.scale > 0, (x - self.centre) / self.scale, 0.0)
                return torch.clamp(rows, -factor, factor).to(torch.float32)

        kinds = {name: module for module, name in _ACTIVATIONS.items()}
        modules: list[Any] = [Standardise()]
        for i, (weight, bias) in enumerate(self.layers):
            if i:
                modules.append(getattr(torch.nn, kinds[self.activations[i - 1]])())
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
                linear.bias.copy_(torch.from_numpy(np.ascontiguousarray(bias)))
            modules.append(linear)
        return torch.nn.Sequential(*modules)

    def __repr__(self) -> str:
        widths = [self.layers[0][0].shape[1], *(weight.shape[0] for weight, _ in self.layers)]
        warden = "SIMULATED" if self._record.get("warden") == "simulated" else self._record.get("warden")
        return f"<Model version {self.version}: {widths}, {self.activations}, warden {warden}>"


def is_sequential(model: Any) -> bool:
    """Whether a model is a sequence of modules, rather than a file."""
    return not isinstance(model, (str, os.PathLike)) and hasattr(model, "__iter__")


def of_sequential(model: Any) -> tuple[list[tuple[Any, Any]], str | None]:
    """Layers and the activation of a ``torch.nn.Sequential``."""
    layers: list[tuple[Any, Any]] = []
    activations = []
    for module in model:
        kind = type(module).__name__
        if kind == "Linear":
            if module.bias is None:
                raise ValueError("every Linear layer needs a bias")
            layers.append((_array(module.weight), _array(module.bias)))
        elif getattr(module, "approximate", "none") != "none":
            raise ValueError("GELU in its exact form: nn.GELU(approximate='none')")
        elif kind in _ACTIVATIONS:
            activations.append((len(layers), _ACTIVATIONS[kind]))
        elif kind not in ("Dropout", "Flatten"):
            raise ValueError(f"a model is a sequence of Linear layers with activations between them, and has {kind}")
    # One after the last layer is part of the loss here.
    between = {name for position, name in activations if 0 < position < len(layers)}
    if not layers:
        raise ValueError("the model has no Linear layer")
    if len(between) > 1:
        raise ValueError(f"one kind of activation between the layers, not {', '.join(sorted(between))}")
    placed = [position for position, _ in activations if 0 < position < len(layers)]
    if len(layers) > 1 and placed != list(range(1, len(layers))):
        raise ValueError("an activation between any two Linear layers")
    return layers, between.pop() if between else None


def _array(tensor: Any) -> Any:
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu().numpy()
    return np.ascontiguousarray(tensor, np.float32)
