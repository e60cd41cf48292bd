"""Bit flips: what a bad disk, cable or memory does to a file behind the database's back."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

from qstore_db.errors import ArgumentError


def flip_bit(path: Path, bit_index: int) -> None:
    """Flip one bit of the file in place: bit `bit_index % 8` (0 = least significant) of byte
    `bit_index // 8`. Processes that have the file mapped see the change.

    Raises `ArgumentError` if the file has no such bit.
    """
    with path.open("r+b", buffering=0) as file:
        bits = os.fstat(file.fileno()).st_size * 8
        if not 0 <= bit_index < bits:
            raise ArgumentError(f"{path} has {bits} bits, none at {bit_index}", subject="bit_index")
        offset, bit = divmod(bit_index, 8)
        (byte,) = os.pread(file.fileno(), 1, offset)
        os.pwrite(file.fileno(), bytes([byte ^ (1 << bit)]), offset)


def random_flips(path: Path, count: int, seed: int) -> Iterator[int]:
    """Flip `count` different bits of the file, one at a time: flip, yield the bit's index, restore.

    The positions depend on `seed`, `count` and the file's size alone. Restoring writes the one byte
    back, also when the caller's loop body raises or the iterator is closed; the file must not be
    rewritten meanwhile. Raises `ArgumentError` if the file has fewer than `count` bits.
    """
    bits = path.stat().st_size * 8
    if not 0 <= count <= bits:
        raise ArgumentError(f"{count} flips asked of {path}, which has {bits} bits", subject="count")
    for bit_index in random.Random(seed).sample(range(bits), count):
        with path.open("rb") as file:
            (byte,) = os.pread(file.fileno(), 1, bit_index // 8)
        flip_bit(path, bit_index)
        try:
            yield bit_index
        finally:
            with path.open("r+b", buffering=0) as file:
                os.pwrite(file.fileno(), bytes([byte]), bit_index // 8)
