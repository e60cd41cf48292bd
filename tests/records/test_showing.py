"""Results as plots and HTML."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection

from qstore_db import QuantumDatabase, TunnelResult
from qstore_db.errors import ArgumentError, ConfigurationError
from qstore_db.pictures.inline import walk_svg
from qstore_db.pictures.plane import principal_plane
from qstore_db.records.showing import walk_of

HOSTILE = "<script>alert('&\"')</script>"


@pytest.fixture(scope="module")
def database() -> Iterator[QuantumDatabase]:
    vectors = np.random.default_rng(3).standard_normal((300, 6)).astype(np.float32)
    with QuantumDatabase() as opened:
        opened.insert_many(
            ids=[f"{HOSTILE}{i}" for i in range(300)],
            vectors=vectors,
            contexts=[{"a": 1.0}] * 300,
            metadata=[{HOSTILE: HOSTILE, "n": i, "m": 1, "last": 2} for i in range(300)],
        )
        yield opened


def tunnel(database: QuantumDatabase, **options: object) -> TunnelResult:
    query = np.arange(1.0, 7.0)
    return database.tunnel_search(
        query, **{"barrier_threshold": 0.5, "top_k": 8, "include_vectors": True, **options}
    )


@pytest.fixture(scope="module")
def result(database: QuantumDatabase) -> TunnelResult:
    return tunnel(database)


@pytest.fixture
def ax() -> Iterator[plt.Axes]:
    mpl.use("Agg")
    figure, made = plt.subplots()
    yield made
    plt.close(figure)


class Balanced(HTMLParser):
    """Tags in balance, and which there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_plot_shows_what_was_walked_found_and_asked(result: TunnelResult, ax: plt.Axes) -> None:
    assert result.plot(ax) is ax
    walked = result.walked
    assert walked is not None
    edges = next(artist for artist in ax.collections if isinstance(artist, LineCollection))
    assert len(edges.get_segments()) == len(walked.edges) > 0
    alpha = edges.get_colors()[:, 3]
    assert np.argmax(alpha) == np.argmax(walked.weights)
    shown = {artist.get_label(): len(artist.get_offsets()) for artist in ax.collections}
    well, beyond, others = (
        next(count for label, count in shown.items() if label.startswith(start))
        for start in ("the well", "found beyond", "walked over")
    )
    assert (well, beyond) == (len(result.inside), len(result))
    assert well + beyond + others == len(walked.ids)
    assert shown["the query"] == 1
    assert len(ax.get_legend().get_texts()) == 5
    assert ax.get_title()
    assert (list(ax.get_xticks()), list(ax.get_yticks())) == ([], [])


def test_a_plot_without_axes_makes_its_own(result: TunnelResult, ax: plt.Axes) -> None:
    made = result.plot()
    assert made is not ax
    plt.close(made.figure)


def test_a_plot_without_vectors_says_how_to_get_them(database: QuantumDatabase) -> None:
    with pytest.raises(ArgumentError, match="include_vectors=True") as caught:
        tunnel(database, include_vectors=False).plot()
    assert caught.value.subject == "include_vectors"


def test_a_plot_without_matplotlib_names_the_extra(
    result: TunnelResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match=r'pip install "qstore-db\[plot\]"') as caught:
        result.plot()
    assert caught.value.subject == "matplotlib"


def test_an_empty_result_is_drawn_with_the_query_alone(ax: plt.Axes) -> None:
    with QuantumDatabase() as empty:
        nothing = tunnel(empty)
    nothing.plot(ax)
    assert sum(len(artist.get_offsets()) for artist in ax.collections) == 1
    Balanced(nothing._repr_html_())


def test_vectors_of_one_number_lie_on_a_line() -> None:
    plane = principal_plane([[1.0], [2.0], [4.0]])
    assert plane.place([[1.0], [4.0]])[:, 1].tolist() == [0.0, 0.0]
    assert plane.kept == 1.0


def test_the_plane_keeps_distances_of_flat_vectors() -> None:
    rng = np.random.default_rng(0)
    flat = rng.standard_normal((20, 2)) @ rng.standard_normal((2, 9))
    placed = principal_plane(flat).place(flat)
    assert np.linalg.norm(placed[3] - placed[7]) == pytest.approx(np.linalg.norm(flat[3] - flat[7]))


def test_under_cosine_the_query_is_shown_by_its_direction(database: QuantumDatabase) -> None:
    one, ten = (
        walk_of(database.tunnel_search(np.arange(1.0, 7.0) * factor, include_vectors=True)).query
        for factor in (1, 10)
    )
    np.testing.assert_allclose(one, ten, atol=1e-5)


def test_the_picture_is_well_formed_and_marks_every_match(result: TunnelResult) -> None:
    drawn = ET.fromstring(walk_svg(walk_of(result)))
    titles = [title.text for title in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert sorted(titles) == sorted([*result.ids, *result.inside.ids, "the query"])


def test_html_escapes_ids_and_metadata(result: TunnelResult) -> None:
    for shown in (result._repr_html_(), result.inside._repr_html_()):
        assert "<script" not in shown
        assert "&lt;script&gt;" in shown
        assert not {"script", "style", "img"} & set(Balanced(shown).tags)


def test_html_has_a_row_for_each_match_and_columns_for_what_applies(database: QuantumDatabase) -> None:
    plain = database.query(np.ones(6), top_k=5)._repr_html_()
    assert Balanced(plain).tags.count("tr") == 6
    assert ">weight<" not in plain
    assert ">tunneled<" not in plain
    assert ">weight<" in database.query(np.ones(6), context="a")._repr_html_()
    assert ">tunneled<" in tunnel(database)._repr_html_()


def test_a_long_result_says_how_many_more_there_are(database: QuantumDatabase) -> None:
    shown = database.query(np.ones(6), top_k=50)._repr_html_()
    assert Balanced(shown).tags.count("tr") == 21
    assert "and 30 more" in shown


def test_a_tunnel_result_tells_of_its_well_and_draws_only_with_vectors(
    database: QuantumDatabase, result: TunnelResult
) -> None:
    assert f"{result.well_size} of 300 eligible records lie in the well" in result._repr_html_()
    assert "<svg" in result._repr_html_()
    assert "<svg" not in tunnel(database, include_vectors=False)._repr_html_()


def test_the_same_search_gives_the_same_html(database: QuantumDatabase) -> None:
    assert tunnel(database)._repr_html_() == tunnel(database)._repr_html_()


def test_html_needs_no_matplotlib() -> None:
    script = (
        "import sys, numpy as np; from qstore_db import QuantumDatabase\n"
        "with QuantumDatabase() as db:\n"
        "    db.insert_many(ids=['a', 'b', 'c'], vectors=np.eye(3))\n"
        "    assert '<svg' in db.tunnel_search(np.ones(3), top_k=1, include_vectors=True)._repr_html_()\n"
        "print('matplotlib' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
