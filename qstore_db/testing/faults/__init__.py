"""Faults on demand: a full disk, a failing fsync, a killed writer, a flipped bit.

```
FaultShim       an LD_PRELOAD library that fails the file I/O of a child process below one directory
FaultControl    the switches of a running shim, also from inside the child
KilledWriter    runs a writing child process and kills it hard, keeping what it acknowledged
flip_bit        flips one bit of a file; `random_flips` tries many positions and restores each
```

Needs no test framework. The shim needs Linux and a C compiler; the rest any POSIX system.
"""

from qstore_db.testing.faults.control import FaultControl, FaultCounts
from qstore_db.testing.faults.crash import KilledRun, KilledWriter, KillMoment
from qstore_db.testing.faults.flip import flip_bit, random_flips
from qstore_db.testing.faults.shim import FaultShim

__all__ = [
    "FaultControl",
    "FaultCounts",
    "FaultShim",
    "KillMoment",
    "KilledRun",
    "KilledWriter",
    "flip_bit",
    "random_flips",
]
