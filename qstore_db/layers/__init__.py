"""Quantum circuits as Torch modules: the extra `torch`. The names are imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from qstore_db.errors import ConfigurationError

if TYPE_CHECKING:
    from qstore_db.layers.adaptive import AdaptiveLayer
    from qstore_db.layers.base import LayerSpecs
    from qstore_db.layers.circuit_layer import CircuitLayer
    from qstore_db.layers.diagnostics import GradientVariance, gradient_variance
    from qstore_db.layers.encoding import DecodingLayer, EncodingLayer
    from qstore_db.layers.extractor import QuantumFeatureExtractor
    from qstore_db.layers.natural import NaturalGradient
    from qstore_db.layers.nonlinearity import QuantumNonlinearity
    from qstore_db.layers.normalization import QuantumAwareNormalization
    from qstore_db.layers.pooling import QuantumPooling
    from qstore_db.layers.quantum_layer import QuantumLayer
    from qstore_db.layers.readout import QuantumReadout
    from qstore_db.layers.sequential import QuantumSequential

_HOMES = {
    "AdaptiveLayer": "adaptive",
    "CircuitLayer": "circuit_layer",
    "DecodingLayer": "encoding",
    "EncodingLayer": "encoding",
    "GradientVariance": "diagnostics",
    "LayerSpecs": "base",
    "NaturalGradient": "natural",
    "QuantumAwareNormalization": "normalization",
    "QuantumFeatureExtractor": "extractor",
    "QuantumLayer": "quantum_layer",
    "QuantumNonlinearity": "nonlinearity",
    "QuantumPooling": "pooling",
    "QuantumReadout": "readout",
    "QuantumSequential": "sequential",
    "gradient_variance": "diagnostics",
}

__all__ = [
    "AdaptiveLayer",
    "CircuitLayer",
    "DecodingLayer",
    "EncodingLayer",
    "GradientVariance",
    "LayerSpecs",
    "NaturalGradient",
    "QuantumAwareNormalization",
    "QuantumFeatureExtractor",
    "QuantumLayer",
    "QuantumNonlinearity",
    "QuantumPooling",
    "QuantumReadout",
    "QuantumSequential",
    "gradient_variance",
]


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'qstore_db.layers' has no attribute {name!r}")
        try:
            value = getattr(import_module(f"qstore_db.layers.{_HOMES[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise ConfigurationError(
                'layers need PyTorch: pip install "qstore-db[torch]"', subject="torch"
            ) from None
        globals()[name] = value
        return value
