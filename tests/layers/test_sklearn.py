"""The classifier keeps scikit-learn's contract, and learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_moons
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from qstore_db.errors import ArgumentError
from qstore_db.layers.sklearn import QuantumClassifier


@parametrize_with_checks(
    [QuantumClassifier(n_qubits=2, depth=1, epochs=6, learning_rate=0.2, random_state=0)]
)
def test_it_keeps_the_contract(estimator: Any, check: Any) -> None:
    check(estimator)


def test_it_learns_what_no_line_separates() -> None:
    X, y = make_moons(200, noise=0.1, random_state=0)
    classifier = QuantumClassifier(n_qubits=3, epochs=25, learning_rate=0.1, random_state=3)
    scores = cross_val_score(make_pipeline(StandardScaler(), classifier), X, y, cv=2)
    assert scores.mean() > 0.93


def test_the_same_state_gives_the_same_model_and_leaves_torch_s_generator_alone() -> None:
    import torch

    X, y = make_moons(60, noise=0.1, random_state=0)
    before = torch.get_rng_state()
    first, second = (QuantumClassifier(epochs=3, random_state=5).fit(X, y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


def test_bad_arguments_are_named() -> None:
    X, y = make_moons(20, random_state=0)
    with pytest.raises(ArgumentError, match="n_qubits"):
        QuantumClassifier(n_qubits=0).fit(X, y)
    with pytest.raises(ArgumentError, match="entanglement"):
        QuantumClassifier(entanglement="knotted").fit(X, y)
