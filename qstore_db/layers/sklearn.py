"""A quantum layer as a scikit-learn classifier."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from qstore_db.errors import ConfigurationError
from qstore_db.layers.ansatz import Entanglement
from qstore_db.layers.quantum_layer import QuantumLayer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as error:
    raise ConfigurationError(
        'scikit-learn is not installed: pip install "qstore-db[sklearn]"', subject="sklearn"
    ) from error


_validate: Any = validate_data  # whose annotations know texts only


class QuantumClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """Features, standardised, a linear map to angles, a `QuantumLayer`, and a linear map to scores of the classes.

    All three are trained together with Adam on cross entropy. What the circuit adds to the linear maps is to be
    measured: compare with `LogisticRegression`.

    n_qubits, depth, entanglement: of the layer. epochs: rounds over all rows. batch_size: rows of one step.
    learning_rate: of Adam. random_state: of initial weights and the order of rows.

    Once fitted: `classes_` (n_classes,), `n_features_in_`, `loss_curve_` (mean loss of each epoch), and the trained
    Torch module, `module_`.
    """

    def __init__(
        self,
        n_qubits: int = 4,
        depth: int = 2,
        entanglement: Entanglement = "linear",
        *,
        epochs: int = 50,
        batch_size: int = 32,
        learning_rate: float = 0.05,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_qubits = n_qubits
        self.depth = depth
        self.entanglement = entanglement
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803 - scikit-learn's name
        """X: (n_samples, n_features). y: (n_samples,) of any kind of label."""
        checked: tuple[Any, Any] = _validate(self, X, y, dtype=np.float64)
        rows, targets = checked
        check_classification_targets(targets)
        self.classes_, labels = np.unique(targets, return_inverse=True)
        self.mean_ = rows.mean(axis=0)
        deviation = rows.std(axis=0)
        self.scale_ = np.where(deviation > 0, deviation, 1.0)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layer = QuantumLayer(self.n_qubits, self.depth, entanglement=self.entanglement, seed=seed)
            self.module_ = nn.Sequential(
                nn.Linear(rows.shape[1], self.n_qubits), layer, nn.Linear(self.n_qubits, len(self.classes_))
            ).double()  # so that what comes out for a row does not depend on the rows beside it
            self._train(self._angles(rows), torch.from_numpy(labels.astype(np.int64)))
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """(n_samples, n_classes), in the order of `classes_`."""
        check_is_fitted(self)
        rows = _validate(self, X, dtype=np.float64, reset=False)
        with torch.no_grad():
            scores = self.module_(self._angles(rows))
        chances: NDArray[np.float64] = torch.softmax(scores, dim=1).numpy()
        return chances

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """(n_samples,) labels."""
        chances = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[chances.argmax(axis=1)]
        return labels

    def _angles(self, rows: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy((rows - self.mean_) / self.scale_)

    def _train(self, x: Tensor, labels: Tensor) -> None:
        optimizer = torch.optim.Adam(self.module_.parameters(), lr=self.learning_rate)
        self.loss_curve_: list[float] = []
        for _ in range(self.epochs):
            summed = 0.0
            for rows in torch.split(torch.randperm(len(x)), self.batch_size):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(self.module_(x[rows]), labels[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                summed += float(loss.detach()) * len(rows)
            self.loss_curve_.append(summed / len(x))
