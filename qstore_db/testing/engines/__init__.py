"""The promises of `Engine` as a test suite that any implementation can inherit.

```
class TestMyEngine(EngineConformance):
    @pytest.fixture
    def engine(self) -> Engine: ...          # an empty one

    @pytest.fixture
    def reopen(self, engine) -> Reopen: ...  # closes `engine`, returns a new one over the same storage
```

What an engine's `capabilities` deny is not asked of it. Needs pytest and hypothesis (the extra `test`).
"""

import pytest

from qstore_db.engines.base import CollectionSpec, Engine
from qstore_db.records import Metric
from qstore_db.testing.engines.collections import Collections
from qstore_db.testing.engines.receipts import Receipts
from qstore_db.testing.engines.reopening import Reopening
from qstore_db.testing.engines.searching import Searching
from qstore_db.testing.engines.support import NOW, Reopen
from qstore_db.testing.engines.watching import Watching
from qstore_db.testing.engines.writing import Writing

__all__ = ["NOW", "EngineConformance", "Reopen"]


class EngineConformance(Collections, Writing, Receipts, Searching, Watching, Reopening):
    """Inherit it, give `engine` and `reopen`, and every promise of the protocol becomes a test."""

    @pytest.fixture(autouse=True)
    def _collection(self, engine: Engine) -> None:
        engine.create_collection(CollectionSpec("c", 3, Metric.L2))
