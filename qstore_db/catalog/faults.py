"""What goes wrong around an LMDB environment, in our own words. Numbers of errno and LMDB end here."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import lmdb

from qstore_db.errors import (
    ConfigurationError,
    CorruptionError,
    DatabaseLockedError,
    DiskFullError,
    FormatError,
    QStoreError,
    ReadOnlyError,
    UnavailableError,
)

DAMAGE = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.BadDbiError, lmdb.IncompatibleError)
"""How a page that makes no sense shows; the last two, where it describes a table."""
_FOREIGN = (lmdb.InvalidError, lmdb.VersionMismatchError)
_BROKEN_DISK = (errno.EIO, errno.EROFS)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_PROBE_BYTES = 1 << 20


def is_full(error: lmdb.Error | OSError) -> bool:
    """Whether the disk, the quota or LMDB's own map is exhausted."""
    return isinstance(error, lmdb.MapFullError) or code_of(error) in _NO_SPACE


def no_room(directory: Path, size: int) -> bool:
    """Whether the file system has less room than `size` bytes and a little more.

    LMDB without py-lmdb's patches reports a short write, which is how a full disk usually shows, as EIO.
    """
    probe = directory / "space.probe"
    try:
        descriptor = os.open(probe, os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size + _PROBE_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        return is_full(error)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return False


def opening_error(directory: Path, error: lmdb.Error | OSError) -> QStoreError:
    """Why `directory` cannot be opened."""
    subject = str(directory)
    if "already open in this process" in str(error):
        return DatabaseLockedError(f"{directory} is already open in this process", subject=subject)
    if isinstance(error, _FOREIGN):
        return FormatError(
            f"the data file of {directory} is none that this release reads, or its first pages are damaged: "
            f"{error}",
            subject=subject,
        )
    if isinstance(error, DAMAGE):
        return damaged(directory, error)
    if is_full(error):
        return DiskFullError(f"no space left to open {directory}", subject=subject)
    remedy = ""
    if code_of(error) == errno.ENOMEM:
        remedy = "; it maps 1 TiB of address space: lift the limit (ulimit -v)"
    return ConfigurationError(f"cannot open {directory}: {error}{remedy}", subject=subject)


def copying_error(directory: Path, destination: Path, error: lmdb.Error | OSError) -> QStoreError:
    """Why `directory` cannot be copied to `destination`; the fault is nearly always the latter's."""
    if isinstance(error, DAMAGE):
        return damaged(directory, error)
    if is_full(error):
        return DiskFullError(f"no space left for a copy in {destination}", subject=str(destination))
    return ConfigurationError(f"cannot copy to {destination}: {error}", subject=str(destination))


def damaged(directory: Path, error: Exception) -> CorruptionError:
    """A page of the data file makes no sense."""
    return CorruptionError(f"the database file of {directory} is damaged: {error}", subject=str(directory))


def too_many_readers(directory: Path) -> UnavailableError:
    """Every reader slot is taken."""
    return UnavailableError(f"too many reads of {directory} are open at once", subject=str(directory))


def full(directory: Path, error: lmdb.Error) -> DiskFullError:
    """A write that found no room, and stored nothing."""
    if isinstance(error, lmdb.MapFullError):
        message = f"{directory} may not grow further; delete records and send it again"
    else:
        message = f"no space left for {directory}; free some space and send it again"
    return DiskFullError(f"{message} (nothing of this write was stored)", subject=str(directory))


def is_fatal(error: lmdb.Error, *, committing: bool) -> bool:
    """Whether it is no longer known what is on disk: any system error of a commit, or a disk that fails."""
    code = code_of(error)
    return code in _BROKEN_DISK or (committing and code > 0)


def became_read_only(directory: Path, error: lmdb.Error) -> ReadOnlyError:
    """Nothing more can be promised until the environment is opened again."""
    return ReadOnlyError(
        f"the database {directory} became read-only: {error}; whether the write that met this reached the "
        "disk is unknown, it is not acknowledged; close and reopen the database once the cause is gone",
        subject=str(directory),
    )


def code_of(error: lmdb.Error | OSError) -> int:
    """The errno, LMDB's own negative code, or 0: the Python binding's own errors, as for closed handles."""
    return error.errno or 0 if isinstance(error, OSError) else getattr(error, "code", 0)
