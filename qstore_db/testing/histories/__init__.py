"""Whether what concurrent clients saw of single records can be explained by one order of what they did.

```
history = record(lambda: nullcontext(db), clients=16, operations=2_000, seed=1)
assert (violation := check(history)) is None, violation
```

`record` lets clients work on a few records at once and writes down what each asked, when, and what came back.
`check` looks for an order in which a lone record would have answered the same; every operation must stand in it
between its call and its return (linearizability). Any other program may write the `Operation`s instead.
Needs no test framework.
"""

from qstore_db.testing.histories.checking import check
from qstore_db.testing.histories.operation import Operation, Refusal, Seen
from qstore_db.testing.histories.recording import record
from qstore_db.testing.histories.register import State
from qstore_db.testing.histories.violation import Violation

__all__ = ["Operation", "Refusal", "Seen", "State", "Violation", "check", "record"]
