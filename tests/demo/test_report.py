"""The demonstration from end to end on a small part of the sample, and its report in a real browser."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib import image as reader

from qstore_db.cli import exits, main
from qstore_db.demo import beyond

SECTIONS = ("queries", "beyond", "map", "crash")


@dataclasses.dataclass(frozen=True)
class Ran:
    out: Path
    data: dict[str, Any]
    text: str

    @property
    def page(self) -> Path:
        return self.out / "report.html"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, shorter: pytest.MonkeyPatch) -> Ran:
    """A short run; once as JSON, then again over it as text."""
    out = tmp_path_factory.mktemp("demo")
    printed: list[str] = []
    for more in (["--json"], []):
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            assert main(["demo", "--out", str(out), *more]) == exits.OK
        printed.append(stdout.getvalue())
    return Ran(out, json.loads(printed[0]), printed[1])


def test_nothing_acknowledged_is_lost(ran: Ran):
    assert ran.data["crash"]["lost"] == 0
    assert ran.data["crash"]["acknowledged"] >= 50
    assert ran.data["crash"]["problems"] == []


def test_the_figures_come_with_their_conditions(ran: Ran):
    figures = ran.data["far_precision"]
    assert (figures["R"], figures["results"], figures["queries"]) == (100, 20, 20)
    for name in ("knn", "tunnel", "difference"):
        assert figures[name]["low"] <= figures[name]["mean"] <= figures[name]["high"]


def test_each_query_does_what_its_title_says(ran: Ran):
    found = {answer["title"]: answer["matches"] for answer in ran.data["queries"]}
    assert len(found) == 6
    assert "Ankle boot" not in {match["class"] for match in found["Filtered"]}
    assert {match["class"] for match in found["In a context"]} <= {
        "T-shirt/top", "Trouser", "Pullover", "Shirt", "Sneaker", "Bag",
    }  # fmt: skip
    sneakers = {title: [match["class"] for match in found[title]].count("Sneaker") for title in found}
    assert sneakers["Superposed: both"] > sneakers["Superposed: one, not both"]


def test_the_terminal_tells_the_same_story(ran: Ran):
    for words in (
        "asked in six ways",
        "tunnel_search",
        "Far P@20 over 20 test images, R = 100",
        "Server: qstore://127.0.0.1:",
        "0 lost",
        "Report:",
    ):
        assert words in ran.text


def test_a_second_run_replaces_the_first(ran: Ran):
    assert ran.data["imported"] == 1_500
    assert "Imported 1,500 records" in ran.text


def test_another_directory_s_files_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "database").mkdir()
    (tmp_path / "database" / "letter.txt").write_text("hello")
    assert main(["demo", "--out", str(tmp_path), "--json"]) == exits.CONFIGURATION
    assert str(tmp_path / "database") == json.loads(capsys.readouterr().out)["error"]["subject"]
    assert (tmp_path / "database" / "letter.txt").exists()


class Page(HTMLParser):
    """What the page holds: its tags in balance, what it loads, its sections."""

    VOID = frozenset({"meta", "link", "img", "br", "!doctype"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.sections: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag == "section":
            self.sections.append(dict(attrs)["id"] or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_report_is_one_file_that_loads_nothing(ran: Ran):
    page = Page()
    page.feed(ran.page.read_text())
    assert page.open == []
    assert page.sections == list(SECTIONS)
    assert page.tags.count("img") > 150
    assert {re.split(r"[;,]", load)[0] for load in page.loads} <= {"data:image/png", "data:"}
    assert not {"script", "iframe", "object"} & set(page.tags)
    assert "url(" not in ran.page.read_text()
    assert ran.page.stat().st_size < 1_000_000


def test_the_report_shows_the_walk_of_a_query(ran: Ran):
    text = ran.page.read_text()
    assert "How tunnelling got there" in text
    assert text.count("<title>train-") > beyond.R


def test_a_browser_shows_the_page_without_a_complaint(ran: Ran, chromium, tmp_path: Path):
    picture = tmp_path / "page.png"
    shown = chromium("--window-size=1200,5200", f"--screenshot={picture}", ran.page.as_uri())
    # What a page's policy forbids, any request beyond the page itself included, is an error on the console.
    assert "CONSOLE" not in shown.stderr
    pixels = reader.imread(picture)[..., :3]
    for quarter in range(4):
        part = pixels[quarter * 1300 : (quarter + 1) * 1300]
        assert part.std() > 0.02


MEASURE = """<!doctype html><meta charset="utf-8"><iframe style="border:0;width:WIDTHpx;height:900px"></iframe>
<pre></pre><script>
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement;
  const hidden = (box) => box.width < 1 || box.height < 1;
  const found = {
    scroll: root.scrollWidth,
    client: root.clientWidth,
    sections: [...page.querySelectorAll("section")].map((s) => [s.id, s.getBoundingClientRect().height]),
    broken: [...page.images].filter((i) => !i.complete || i.naturalWidth === 0).length,
    hidden: [...page.querySelectorAll("img, svg, h1, h2, h3, p, table, code")]
      .filter((e) => hidden(e.getBoundingClientRect())).length,
    cut: [...page.querySelectorAll(
      "img, svg, h1, h2, h3, h4, p, code, figcaption, table, .scroll, .tile, .bar *"
    )].filter((e) => {
      const box = e.getBoundingClientRect();
      const overfull = e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1;
      return overfull || box.left < -1 || box.right > root.clientWidth + 1;
    }).map((e) => e.outerHTML.slice(0, 60)),
    square: [...page.images].every((i) => Math.abs(i.width - i.height) <= 1),
  };
  document.querySelector("pre").textContent = JSON.stringify(found);
};
frame.srcdoc = PAGE;
</script>"""


@pytest.mark.parametrize("width", [1200, 400])
def test_nothing_is_cut_off_or_hidden(ran: Ran, chromium, tmp_path: Path, width: int):
    page = json.dumps(ran.page.read_text()).replace("</", "<\\/")
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(MEASURE.replace("WIDTH", str(width)).replace("PAGE", page))
    shown = chromium("--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom", wrapper.as_uri())
    told = re.search("<pre>(.+?)</pre>", shown.stdout)
    assert told is not None
    found = json.loads(html.unescape(told[1]))
    assert found["client"] == width
    assert found["scroll"] <= width
    assert [name for name, height in found["sections"] if height > 200] == list(SECTIONS)
    assert (found["broken"], found["hidden"], found["cut"]) == (0, 0, [])
    assert found["square"]
