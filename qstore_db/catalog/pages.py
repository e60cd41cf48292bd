"""Reading LMDB's own pages, to find damage that LMDB follows without a word.

LMDB keeps no checksums of its pages. What a damaged one does to stored values shows in their own checksums and
sums; what it does to the tree, to the list of free pages or to the two meta pages may show much later, when a
write takes a page that is in use. The layout is that of LMDB 0.9 (`lib_version=0`) on 64-bit machines, native
byte order, as in its `mdb.c`; tables with several values a key are not used here.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from qstore_db.errors import CorruptionError

_MAGIC = 0xBEEFC0DE
_HEADER = struct.Struct("=QHHHH")  # page, pad, flags, and lower and upper end of what is unused, or u32 pages
_META = struct.Struct("=IIQQ")  # magic, version, address, map size
_TREE = struct.Struct("=IHHQQQQQ")
_STATE = struct.Struct("=QQ")  # last page, transaction
_NODE = struct.Struct("=HHHH")  # low and high half of the value's size, flags, key size
_NUMBER = struct.Struct("=Q")
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4  # flags of pages
_PLAIN, _BIG, _TABLE = 0, 1, 2  # flags of nodes: value here, value on pages of its own, record of a tree
_NUMERIC = 8  # flag of a tree
_NOWHERE = (1 << 64) - 1
_PAGE_SIZES = (4_096, 8_192, 16_384, 32_768, 65_536)


@dataclass(frozen=True, slots=True)
class _Tree:
    """LMDB's record of one tree."""

    page_size: int
    """In the list of free pages only; 0 in others."""
    flags: int
    depth: int
    branches: int
    leaves: int
    overflows: int
    entries: int
    root: int


@dataclass(slots=True)
class _Counts:
    """What a walk met in one tree."""

    branches: int = 0
    leaves: int = 0
    overflows: int = 0
    entries: int = 0


@dataclass(frozen=True, slots=True)
class _Node:
    """One entry of a page."""

    key: bytes
    number: int
    """The size of the value; in a branch the page below."""
    flags: int
    at: int
    """Where the value, or its page number, lies in the file."""
    span: int
    """Bytes that the entry takes in the page."""


@dataclass(frozen=True, slots=True)
class _Meta:
    free: _Tree
    directory: _Tree
    last_page: int
    transaction: int


def check_metas(path: Path, *, both: bool = False) -> None:
    """Check that the newer meta page of a data file that nobody writes to is what its number says.

    Each commit writes one of the two, by turns. Where the newer one no longer says so, LMDB opens the state before,
    and the last commit is gone in silence. The list of free pages tells: each commit enters those that it freed
    under its own number. Raises CorruptionError; a file that is too short or of another format is left to LMDB
    to refuse.

    `both`: the older page as well. It is wrong, without any loss, from a commit that failed on a bad disk until
    the next commit; otherwise it is the newer one, and its number is damaged.
    """
    with path.open("rb") as file:
        metas = _metas(file.read(2 * _PAGE_SIZES[-1]))
        if metas is None:
            return
        numbers = [meta.transaction for meta in metas]
        freed = [_last_key(file, meta.free, metas[0].free.page_size) for meta in metas]
    by_turns = numbers == [0, 0] or (abs(numbers[0] - numbers[1]) == 1 and numbers[0] % 2 == 0)
    # The first commit frees nothing, nor does a compacted copy, which has the number 1.
    agree = [freed[i] == numbers[i] or (freed[i] is None and numbers[i] < 2) for i in range(2)]
    if not by_turns or not agree[numbers.index(max(numbers))] or (both and not all(agree)):
        raise CorruptionError(
            f"the meta pages of {path} name the transactions {numbers[0]} and {numbers[1]}, which they are not: "
            "a page is damaged, or a commit failed and none came after it",
            subject=str(path),
        )


def check_pages(path: Path) -> int:
    """Follow every tree of a data file that nobody writes to; the number of pages in use.

    Raises CorruptionError naming the page where the file is not what LMDB writes: a page that is used twice, or
    used and free, or neither; keys out of order; nodes that overlap; wrong counts.
    """
    with path.open("rb") as file:
        metas = _metas(file.read(2 * _PAGE_SIZES[-1]))
        if metas is None:
            raise CorruptionError(f"the meta pages of {path} cannot be read", subject=str(path))
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            return _Walk(path, data, max(metas, key=lambda meta: meta.transaction)).run()
        except struct.error as error:
            raise CorruptionError(f"{path} ends within a page: {error}", subject=str(path)) from None
        finally:
            data.close()


def _metas(head: bytes) -> list[_Meta] | None:
    """Both meta pages, or None if this is no data file of this format."""
    metas: list[_Meta] = []
    at = _HEADER.size
    for _ in range(2):
        if (
            len(head) < at + _META.size + 2 * _TREE.size + _STATE.size
            or _META.unpack_from(head, at)[0] != _MAGIC
        ):
            return None
        trees = at + _META.size
        free, directory = (_Tree(*_TREE.unpack_from(head, trees + i * _TREE.size)) for i in range(2))
        metas.append(_Meta(free, directory, *_STATE.unpack_from(head, trees + 2 * _TREE.size)))
        at += free.page_size
    return metas


def _last_key(file: BinaryIO, tree: _Tree, page_size: int) -> int | None:
    """The highest number in a tree of numbers; None if it is empty, -1 if it is damaged."""
    page = tree.root
    if page == _NOWHERE:
        return None
    for _ in range(tree.depth):
        try:
            file.seek(page * page_size)
            data = file.read(page_size)
            lower = _HEADER.unpack_from(data)[3]
            (at,) = struct.unpack_from("=H", data, lower - 2)
            low, high, flags, _ = _NODE.unpack_from(data, at)
            (key,) = _NUMBER.unpack_from(data, at + _NODE.size)
        except (struct.error, OSError, OverflowError, ValueError):  # a page number that no file reaches, say
            return -1
        if data[10] & _LEAF:
            return int(key)
        page = low | high << 16 | flags << 32
    return -1


class _Walk:
    """One pass over the trees of a file."""

    def __init__(self, path: Path, data: mmap.mmap, meta: _Meta) -> None:
        self._path = path
        self._data = data
        self._meta = meta
        self._size = meta.free.page_size
        self._taken: set[int] = set()

    def run(self) -> int:
        meta = self._meta
        if self._size not in _PAGE_SIZES or meta.free.flags != _NUMERIC:
            raise self._damage(0, "describes no pages that LMDB writes")
        self._take(0, 2)
        for key, value in self._tree(meta.free, _PLAIN):
            count, *pages = struct.unpack(f"={len(value) // 8}Q", value)
            if count > len(pages):  # LMDB would take what lies behind them for free pages
                raise self._damage(
                    meta.free.root, f"lists {count} free pages under {key!r}, not {len(pages)}"
                )
            for page in pages[:count]:
                self._take(page)
        free = len(self._taken) - 2
        for key, value in self._tree(meta.directory, _TABLE):
            tree = _Tree(*_TREE.unpack(value))
            if tree.page_size or tree.flags:
                raise self._damage(meta.directory.root, f"describes table {key!r} as none that is used here")
            for _ in self._tree(tree, _PLAIN):
                pass
        if len(self._taken) != meta.last_page + 1:
            raise self._damage(0, f"counts {meta.last_page + 1} pages, {len(self._taken)} are in use or free")
        return len(self._taken) - free

    def _tree(self, tree: _Tree, kind: int) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in order, every page checked before its own are given, the counts at the end."""
        found = _Counts()
        # LMDB counts levels from there when the tree grows or shrinks.
        if (tree.root == _NOWHERE) != (tree.depth == 0):
            raise self._damage(tree.root, f"is the root of a tree of {tree.depth} levels, which it is not")
        if tree.root != _NOWHERE:
            yield from self._page(tree, tree.root, 1, kind, found, b"", None)
        if found != _Counts(tree.branches, tree.leaves, tree.overflows, tree.entries):
            raise self._damage(tree.root, f"is the root of a tree with wrong counts: {found} in {tree}")

    def _page(
        self, tree: _Tree, page: int, depth: int, kind: int, found: _Counts, low: bytes, high: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        """What lies below a page; its keys must lie in [low, high)."""
        self._take(page)
        start = page * self._size
        number, _, flags, lower, upper = _HEADER.unpack_from(self._data, start)
        leaf = depth >= tree.depth
        if (number, flags) != (
            page,
            _LEAF if leaf else _BRANCH,
        ) or not _HEADER.size < lower <= upper <= self._size:
            raise self._damage(page, "is not the page that the tree says")
        count = (lower - _HEADER.size) // 2
        offsets = struct.unpack_from(f"={count}H", self._data, start + _HEADER.size)
        nodes = [self._node(page, offset, leaf) for offset in offsets]
        spans = sorted((offset, offset + node.span) for offset, node in zip(offsets, nodes, strict=True))
        edges = [upper, *(edge for span in spans for edge in span), self._size]
        if lower % 2 or edges[0::2] != edges[1::2]:
            raise self._damage(page, "has nodes that overlap or leave gaps")
        keys = [node.key[::-1] if tree.flags == _NUMERIC else node.key for node in nodes]
        if not leaf:
            keys[0] = low  # LMDB leaves the first one out
        if (
            keys[0] < low
            or any(one >= two for one, two in pairwise(keys))
            or (high is not None and keys[-1] >= high)
        ):
            raise self._damage(page, "holds keys out of order")
        if leaf:
            found.leaves += 1
            found.entries += count
            for node in nodes:
                if node.flags & ~_BIG != kind:
                    raise self._damage(page, f"holds {node.key!r} as another kind of entry")
                yield node.key, self._value(node, found)
        else:
            found.branches += 1
            for node, one, two in zip(nodes, keys, [*keys[1:], high], strict=True):
                yield from self._page(tree, node.number, depth + 1, kind, found, one, two)

    def _node(self, page: int, offset: int, leaf: bool) -> _Node:
        at = page * self._size + offset
        low, high, flags, length = _NODE.unpack_from(self._data, at)
        body = at + _NODE.size
        number = low | high << 16 | (0 if leaf else flags << 32)
        if not leaf:
            flags = 0
        inside = 0 if not leaf else _NUMBER.size if flags & _BIG else number
        span = _NODE.size + length + inside
        return _Node(self._data[body : body + length], number, flags, body + length, span + span % 2)

    def _value(self, node: _Node, found: _Counts) -> bytes:
        if not node.flags & _BIG:
            return self._data[node.at : node.at + node.number]
        (page,) = _NUMBER.unpack_from(self._data, node.at)
        start = page * self._size
        if start + self._size > len(self._data):
            raise self._damage(page, "lies beyond the end of the file")
        number, _, flags, low, high = _HEADER.unpack_from(self._data, start)
        pages = low | high << 16
        if (number, flags) != (page, _OVERFLOW) or pages * self._size < _HEADER.size + node.number:
            raise self._damage(page, "does not hold the large value that it should")
        self._take(page, pages)
        found.overflows += pages
        return self._data[start + _HEADER.size : start + _HEADER.size + node.number]

    def _take(self, page: int, count: int = 1) -> None:
        """Raises CorruptionError if one of the pages is taken already or cannot be."""
        pages = range(page, page + count)
        if page + count > self._meta.last_page + 1:
            raise self._damage(page, "lies beyond the last page")
        if not self._taken.isdisjoint(pages):
            raise self._damage(page, "is in use twice, or in use and free")
        self._taken.update(pages)

    def _damage(self, page: int, what: str) -> CorruptionError:
        return CorruptionError(f"page {page} of {self._path} {what}", subject=f"page {page}")
