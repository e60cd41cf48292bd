"""Array files: how segments are kept beside the database, verified whole before anything in them is used.

Layout: magic (8 bytes), header length (u32, little-endian), header (msgpack: name, dtype, shape, offset of
each array, and free-form values), then the arrays at multiples of 64 bytes. The checksum over the whole file
is kept elsewhere (in the manifest), so that a stale file is noticed as well as a damaged one.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import google_crc32c
import msgpack
import numpy as np
from numpy.typing import NDArray

from qstore_db.catalog.faults import is_full
from qstore_db.errors import ConfigurationError, CorruptionError, DiskFullError

MAGIC = b"QSTORE\x00\x01"
_ALIGN = 64
_CHUNK = 8 << 20


@dataclass(frozen=True, slots=True)
class FileMark:
    """What a manifest remembers of a file."""

    name: str
    size: int
    crc: int

    def as_data(self) -> list[Any]:
        return [self.name, self.size, self.crc]


@contextmanager
def room_in(directory: Path) -> Iterator[None]:
    """Raises DiskFullError or ConfigurationError naming `directory` where the block fails to write there."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise DiskFullError(
                f"no space left in {directory}; free some space", subject=str(directory)
            ) from error
        raise ConfigurationError(f"cannot write to {directory}: {error}", subject=str(directory)) from error


def write_arrays(path: Path, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write one array file; not yet durable (see `settle`)."""
    places: list[list[Any]] = []
    offset = 0
    for name, array in arrays.items():
        offset = -(-offset // _ALIGN) * _ALIGN
        places.append([name, array.dtype.str, list(array.shape), offset])
        offset += array.nbytes
    header = cast("bytes", msgpack.packb([places, dict(values)]))
    base = -(-(len(MAGIC) + 4 + len(header)) // _ALIGN) * _ALIGN
    with path.open("wb") as file:
        file.write(MAGIC + len(header).to_bytes(4, "little") + header)
        for place, array in zip(places, arrays.values(), strict=True):
            file.write(bytes(base + place[3] - file.tell()))
            contiguous = np.ascontiguousarray(array)
            for start in range(0, contiguous.nbytes, _CHUNK):
                file.write(contiguous.reshape(-1).view(np.uint8)[start : start + _CHUNK].data)


def read_arrays(path: Path) -> tuple[Mapping[str, Any], dict[str, NDArray[Any]]]:
    """The values and arrays of a verified file, mapped read-only."""
    buffer = _map(path)
    if bytes(buffer[: len(MAGIC)]) != MAGIC:
        raise CorruptionError(f"{path.name} is no segment file of this format", subject=path.name)
    length = int.from_bytes(buffer[len(MAGIC) : len(MAGIC) + 4].tobytes(), "little")
    start = len(MAGIC) + 4
    places, values = msgpack.unpackb(buffer[start : start + length].tobytes(), strict_map_key=False)
    base = -(-(start + length) // _ALIGN) * _ALIGN
    arrays: dict[str, NDArray[Any]] = {}
    for name, dtype, shape, offset in places:
        kind = np.dtype(dtype)
        size = kind.itemsize * int(np.prod(shape))
        arrays[name] = buffer[base + offset : base + offset + size].view(kind).reshape(shape)
    return values, arrays


def mark(path: Path) -> FileMark:
    """Size and checksum of a file as it is now."""
    buffer = _map(path)
    return FileMark(path.name, len(buffer), int(google_crc32c.value(buffer)) if len(buffer) else 0)


def check(directory: Path, expected: FileMark) -> Path:
    """The path of a file that is what the manifest says. Raises CorruptionError naming it otherwise."""
    path = directory / expected.name
    try:
        sound = path.stat().st_size == expected.size and mark(path) == expected
    except OSError as error:
        raise CorruptionError(
            f"index file {expected.name} is missing or unreadable: {error}", subject=expected.name
        ) from None
    if not sound:
        raise CorruptionError(f"index file {expected.name} is damaged or stale", subject=expected.name)
    return path


def settle(temporary: Path, final: Path) -> FileMark:
    """Make a written file durable under its final name: sync, checksum, rename, sync the directory."""
    sync_file(temporary)
    seen = mark(temporary)
    temporary.rename(final)
    sync_directory(final.parent)
    return FileMark(final.name, seen.size, seen.crc)


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Sync every file and directory below `root`."""
    for path in root.rglob("*"):
        sync_directory(path) if path.is_dir() else sync_file(path)
    sync_directory(root)


def _map(path: Path) -> NDArray[np.uint8]:
    """The file's bytes, mapped read-only; the mapping lives as long as the array."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return np.empty(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
