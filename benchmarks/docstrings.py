"""The docstrings of Python's standard library as vectors: text without a download, each with its module as label.

Modules are read with `ast` and never imported, so that what is found depends on the files alone. Some
distributions leave modules out (tkinter, distutils): `VectorSet.source` says which Python was read, and how much.
"""

from __future__ import annotations

import ast
import functools
import platform
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.data import Integers, VectorSet, unit
from benchmarks.harness import Options

DIMENSION = 128
LEAST_LENGTH = 40
"""Characters of the shortest docstring that is a document."""
LEAST_DOCUMENTS = 30
"""A module with fewer documents is no label."""
CHAPTERS = {
    "interfaces": ("tkinter", "idlelib", "turtle"),
    "development": ("distutils", "lib2to3", "unittest", "pydoc", "doctest", "pdb", "bdb", "typing"),
    "language": ("importlib", "inspect", "ast", "symtable", "traceback", "contextlib", "functools", "codecs"),
    "internet": (
        *("asyncio", "email", "http", "urllib", "ipaddress", "mailbox", "imaplib", "wsgiref", "nntplib"),
        *("xmlrpc", "ssl", "smtplib", "ftplib", "socketserver", "xml"),
    ),
    "system": ("logging", "multiprocessing", "threading", "concurrent", "subprocess", "_pyio"),
    "data": (
        *("_pydecimal", "datetime", "enum", "statistics", "collections", "_collections_abc", "calendar"),
        *("random", "difflib"),
    ),
    "files": ("tarfile", "pathlib", "zipfile", "shutil", "configparser"),
}
"""Modules by subject, much as the library's reference has them in chapters: coarse contexts."""
_NOT_LIBRARY = ("site-packages", "dist-packages", "__pycache__")
_QUICK = ("asyncio", "email", "http", "logging", "xml")


def docstrings(options: Options, queries: int) -> VectorSet:
    """About 4,800 documents and `queries` held out of all modules. Quick: those of five modules."""
    data, _ = _vectors(_QUICK if options.quick else None)
    return VectorSet(
        "docstrings",
        "cosine",
        data.base[queries:],
        data.base[:queries],
        data.labels[queries:],
        data.labels[:queries],
        data.source,
    )


def chapter_of(options: Options) -> Integers:
    """Index into CHAPTERS of each label; one more for modules that no chapter names."""
    _, names = _vectors(_QUICK if options.quick else None)
    chapter = {module: at for at, modules in enumerate(CHAPTERS.values()) for module in modules}
    return np.array([chapter.get(name, len(CHAPTERS)) for name in names], np.int64)


@functools.cache
def _vectors(modules: tuple[str, ...] | None) -> tuple[VectorSet, list[str]]:
    """Every document as a base vector, shuffled once, and the names of the labels.

    TF-IDF, projected by truncated SVD, of unit length. The projection sees the held-out documents too, but no
    label.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    found = list(_documents(Path(sysconfig.get_paths()["stdlib"]), modules))
    counts = Counter(module for module, _ in found)
    kept = [(module, text) for module, text in found if counts[module] >= LEAST_DOCUMENTS]
    names = sorted({module for module, _ in kept})
    tfidf = TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english")
    words = tfidf.fit_transform([text for _, text in kept])
    values = TruncatedSVD(DIMENSION, random_state=128).fit_transform(words)
    order = np.random.default_rng(128).permutation(len(kept))
    # A document of rare words alone has no direction.
    order = order[np.linalg.norm(values[order], axis=1) > 1e-9]
    labels = np.array([names.index(module) for module, _ in kept], np.int64)[order]
    vectors = unit(values[order].astype(np.float32))
    source = (
        f"{len(order):,} docstrings of at least {LEAST_LENGTH} characters in {len(names)} modules of the standard "
        f"library of Python {platform.python_version()}, TF-IDF and SVD"
    )
    return VectorSet("docstrings", "cosine", vectors, vectors[:0], labels, labels[:0], source), names


def _documents(root: Path, modules: tuple[str, ...] | None) -> Iterator[tuple[str, str]]:
    """(top-level module, docstring) of every class, method and function outside tests; a text comes once."""
    seen: set[str] = set()
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        module = parts[0].removesuffix(".py")
        if module in _NOT_LIBRARY or any(_of_tests(part) for part in parts):
            continue
        if modules is not None and module not in modules:
            continue
        for node in ast.walk(_parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                text = ast.get_docstring(node) or ""
                if len(text) >= LEAST_LENGTH and text not in seen:
                    seen.add(text)
                    yield module, text


def _parse(path: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escapes that the library spells in the old way are its own business
        return ast.parse(path.read_bytes())


def _of_tests(part: str) -> bool:
    return part in ("test", "tests", "idle_test") or part.startswith("test_")
