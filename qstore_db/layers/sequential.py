"""Layers fused into one circuit: nothing is measured in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor, nn

from qstore_db.errors import ArgumentError
from qstore_db.layers import diagnostics, tensors
from qstore_db.layers.base import LayerSpecs, QuantumModule
from qstore_db.layers.extractor import QuantumFeatureExtractor
from qstore_db.layers.function import Expectations
from qstore_db.layers.pooling import QuantumPooling
from qstore_db.layers.readout import QuantumReadout
from qstore_db.quantum import Circuit, pauli
from qstore_db.quantum.observables import Observable

Fusible: TypeAlias = "QuantumFeatureExtractor | QuantumPooling | QuantumReadout"
_KINDS = {kind.__name__: kind for kind in (QuantumFeatureExtractor, QuantumPooling, QuantumReadout)}


class QuantumSequential(QuantumModule):
    """Extractors and poolings, at last an extractor that measures or a readout, as one circuit on one state.

    The first layer must be an extractor, whose encoding takes the input; those within must have
    measurement_bases=None. Pooling by partial trace leaves wires aside: later layers act on the wires that
    are kept, and the state stays pure. It is another function than the same layers in a row, which measure
    and encode again.

    Raises ArgumentError for layers that cannot be fused, and for numbers of qubits that do not fit.
    """

    def __init__(self, *layers: Fusible) -> None:
        super().__init__({}, layers[-1].output_dim if layers else None)
        circuit, observables = _fused(layers)
        self.layers = nn.ModuleList(layers)
        self.from_states = True
        self.expectations = Expectations(circuit, observables)

    @property
    def circuit(self) -> Circuit:
        """Parameters are named as those of the layers, with the layer's number and a point before."""
        return self.expectations.circuit

    def forward(self, x: Tensor) -> Tensor:
        first, last = self.layers[0], self.layers[-1]
        assert isinstance(first, QuantumFeatureExtractor)
        angles = torch.cat([each.to(tensors.precision(each)) for each in self.quantum_parameters()])
        x = tensors.inputs(x, None, angles)
        states = first.encoding(x.reshape(-1, x.shape[-1]))
        values = self.expectations(angles, states[:, :0], states)
        if isinstance(last, QuantumReadout):
            values = last.scores(values)
        return values.reshape(*x.shape[:-1], values.shape[-1])

    def specs(self) -> LayerSpecs:
        its, runs = self.circuit.specs(), self.expectations
        return LayerSpecs(its.gates, its.depth, len(runs.bases), runs.gradient_circuits(), runs.shots)

    def dead_parameters(self) -> tuple[str, ...]:
        """Names of parameters on which nothing that is measured depends, whatever the input and the others are."""
        return diagnostics.dead_parameters(self)

    def get_config(self) -> dict[str, Any]:
        return {"layers": [(type(layer).__name__, layer.get_config()) for layer in self._parts()]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(*(_KINDS[name].from_config(its) for name, its in config["layers"]))

    def _parts(self) -> list[QuantumModule]:
        return [layer for layer in self.layers if isinstance(layer, QuantumModule)]

    def quantum_parameters(self) -> list[nn.Parameter]:
        return [each for layer in self._parts() for each in layer.quantum_parameters()]


def _fused(layers: tuple[Fusible, ...]) -> tuple[Circuit, list[Observable]]:
    if not layers or not isinstance(layers[0], QuantumFeatureExtractor):
        raise ArgumentError("the first layer must be a QuantumFeatureExtractor", subject="layers")
    wires = list(range(layers[0].n_qubits))
    circuit, observables = Circuit(len(wires)), list[Observable]()
    for number, layer in enumerate(layers):
        where, last = f"layer {number} ({type(layer).__name__})", number == len(layers) - 1
        if not isinstance(layer, tuple(_KINDS.values())):
            raise ArgumentError(f"{where} cannot be fused: use torch.nn.Sequential", subject="layers")
        if layer.n_qubits != len(wires):
            raise ArgumentError(
                f"{where} has n_qubits={layer.n_qubits}, and {len(wires)} arrive", subject="layers"
            )
        if isinstance(layer, QuantumPooling):
            if layer.pooling_type != "partial_trace":
                raise ArgumentError(
                    f"{where} measures: only 'partial_trace' can be fused", subject="pooling_type"
                )
            wires = [wires[qubit] for qubit in layer.kept]
            continue
        circuit = circuit.compose(layer.renamed(f"{number}."), wires)
        if isinstance(layer, QuantumReadout):
            if not last:
                raise ArgumentError(f"{where} must be the last", subject="layers")
            observables += layer.classes_on(wires)
        elif layer.measurement_bases is not None:
            if not last:
                raise ArgumentError(
                    f"{where} measures before the end: measurement_bases must be None",
                    subject="measurement_bases",
                )
            observables += [pauli(f"{letter}{wire}") for letter in layer.measurement_bases for wire in wires]
    if not observables:
        raise ArgumentError(
            "the last layer must be a QuantumReadout or an extractor that measures", subject="layers"
        )
    return circuit, observables
