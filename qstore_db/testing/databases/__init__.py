"""The promises of the public database interface as a test suite that every way to open a database can inherit.

```
class TestMyDatabases(DatabaseContract):
    @pytest.fixture
    def opening(self) -> Iterator[Opening]:
        with sync_databases() as opening:
            yield opening
```

`opening(path, **config)` gives a database whose calls block, whatever stands behind it: `async_databases` wraps
the async face so that the same tests run over it. Needs pytest (the extra `test`).
"""

from qstore_db.testing.databases.bulk import BulkContract
from qstore_db.testing.databases.coherence import CoherenceContract
from qstore_db.testing.databases.collections import CollectionsContract
from qstore_db.testing.databases.contexts import ContextsContract
from qstore_db.testing.databases.denoising import DenoisingContract
from qstore_db.testing.databases.groups import GroupsContract
from qstore_db.testing.databases.opening import Clock, Opening, async_databases, sync_databases
from qstore_db.testing.databases.querying import QueryingContract
from qstore_db.testing.databases.reading import ReadingContract
from qstore_db.testing.databases.tunnelling import TunnellingContract
from qstore_db.testing.databases.upkeep import UpkeepContract
from qstore_db.testing.databases.watching import WatchingContract
from qstore_db.testing.databases.writing import WritingContract

__all__ = ["Clock", "DatabaseContract", "Opening", "async_databases", "sync_databases"]


class DatabaseContract(
    WritingContract,
    BulkContract,
    ReadingContract,
    QueryingContract,
    ContextsContract,
    CoherenceContract,
    DenoisingContract,
    TunnellingContract,
    CollectionsContract,
    GroupsContract,
    UpkeepContract,
    WatchingContract,
):
    """Inherit, name the class `Test...`, and give the fixture `opening`."""
