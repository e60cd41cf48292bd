"""The switches of the fault shim: a small file that the shim maps and reads on every call."""

from __future__ import annotations

import contextlib
import enum
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from qstore_db.errors import ConfigurationError

PATH_VARIABLE = "QSTORE_FAULT_PATH"
CONTROL_VARIABLE = "QSTORE_FAULT_CONTROL"
FILE_SIZE = 4096


class _Word(enum.IntEnum):
    """The uint32 words of the file, native byte order, in the order of `shim.c`."""

    WRITE_ARMED = 0
    WRITE_PASS = 1
    WRITES_SEEN = 2
    WRITES_FAILED = 3
    SYNC_ARMED = 4
    SYNC_PASS = 5
    SYNCS_SEEN = 6
    SYNCS_FAILED = 7
    SHORT_WRITE = 8
    DSYNC_WRITES = 9


@dataclass(frozen=True, slots=True)
class FaultCounts:
    """What the shim saw below its directory since its control file was made; each wraps at 2**32."""

    writes_seen: int
    """Writing calls: write, pwrite, writev, pwritev, fwrite, posix_fallocate and a growing ftruncate."""
    writes_failed: int
    """Those that failed with ENOSPC or were cut short."""
    syncs_seen: int
    """fsync, fdatasync, msync, and O_DSYNC writes while `sync_fails(dsync_writes=True)` is in force."""
    syncs_failed: int
    """Those that failed with EIO."""


class FaultControl:
    """The switches of one running shim; any process that maps the same file may turn them.

    A switch takes effect with the next call that the process under test makes. One setter at a time is
    assumed: the file has no lock.
    """

    def __init__(self, path: Path) -> None:
        """Map the control file at `path`, which must exist (`FaultShim` makes it)."""
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), FILE_SIZE)
        self._words = memoryview(self._map).cast("I")

    @classmethod
    def from_environment(cls) -> Self:
        """The control of the shim that this very process runs under.

        Raises `ConfigurationError` where the process was started without one.
        """
        path = os.environ.get(CONTROL_VARIABLE)
        if path is None:
            raise ConfigurationError(
                f"{CONTROL_VARIABLE} is not set: start this process with FaultShim.environment()",
                subject=CONTROL_VARIABLE,
            )
        return cls(Path(path))

    @property
    def counts(self) -> FaultCounts:
        """A reading of the counters, so that a test can prove that its fault really fired."""
        words = self._words
        return FaultCounts(
            writes_seen=words[_Word.WRITES_SEEN],
            writes_failed=words[_Word.WRITES_FAILED],
            syncs_seen=words[_Word.SYNCS_SEEN],
            syncs_failed=words[_Word.SYNCS_FAILED],
        )

    def fill_disk(self, *, after: int = 0, short_write: bool = False) -> None:
        """Let `after` more writing calls pass, then fail each with ENOSPC until `clear`.

        Stricter than a disk: a write over blocks that the file has already fails too. `short_write`: the
        first failing call writes the first half of its bytes (of its first buffer) and returns that
        count, as a disk does that fills up in the middle of a write.
        """
        self._words[_Word.WRITE_PASS] = after
        self._words[_Word.SHORT_WRITE] = short_write
        self._words[_Word.WRITE_ARMED] = 1

    def break_sync(self, *, after: int = 0, dsync_writes: bool = False) -> None:
        """Let `after` more syncs pass, then fail each with EIO until `clear`.

        `dsync_writes`: a write to a file opened with O_DSYNC (or O_SYNC) counts as a sync too; when it
        fails its bytes are in the page cache all the same, so other readers of the file see them.
        """
        self._words[_Word.SYNC_PASS] = after
        self._words[_Word.DSYNC_WRITES] = dsync_writes
        self._words[_Word.SYNC_ARMED] = 1

    def clear(self) -> None:
        """Turn all faults off. Counters stay."""
        for word in (_Word.WRITE_ARMED, _Word.SYNC_ARMED, _Word.SHORT_WRITE, _Word.DSYNC_WRITES):
            self._words[word] = 0

    @contextlib.contextmanager
    def disk_full(self, *, after: int = 0, short_write: bool = False) -> Iterator[None]:
        """`fill_disk` for the length of a block; every fault is off afterwards."""
        self.fill_disk(after=after, short_write=short_write)
        try:
            yield
        finally:
            self.clear()

    @contextlib.contextmanager
    def sync_fails(self, *, after: int = 0, dsync_writes: bool = False) -> Iterator[None]:
        """`break_sync` for the length of a block; every fault is off afterwards."""
        self.break_sync(after=after, dsync_writes=dsync_writes)
        try:
            yield
        finally:
            self.clear()

    def close(self) -> None:
        """Unmap the file. The faults stay as they are: the shim has a mapping of its own."""
        self._words.release()
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
