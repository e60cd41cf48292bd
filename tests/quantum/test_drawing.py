"""Drawings show every operation where it is, fit the width, and read in a browser on light and on dark ground."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import image as reader

from qstore_db.errors import ArgumentError
from qstore_db.quantum import Channel, Circuit, data, parameter
from qstore_db.testing import circuits as drawn

DOCS = Path(__file__).resolve().parents[2] / "docs"
EVERYTHING = (
    Circuit(4)
    .h(0)
    .rx(1, data(0))
    .u(2, "theta", 0.5, data(1) / 2 + 0.3)
    .cx(0, 3)
    .ccx(3, 1, 0)
    .swap(1, 3)
    .iswap(0, 2)
    .rxx(1, 2, "w")
    .crx(3, 0, 2 * parameter("theta") - 0.4)
    .unitary(np.eye(4)[[0, 2, 1, 3]], 2, 0)
    .sdg(1)
    .sx(3)
    .cz(0, 1)
    .cp(2, 3, "a")
    .noise(Channel("amplitude_damping", 0.1), 1)
    .measure(2)
    .reset(2)
)


# Text


def test_a_small_circuit_is_drawn_like_this() -> None:
    circuit = Circuit(3).h(0).cx(0, 2).ry(1, "theta").crz(2, 1, data(0) - 0.5).swap(0, 1)
    wanted = """
q0 ──┤H├──●─────────────────────────────────×─
          │                                 │
q1 ───────┼──┤RY(theta)├──┤RZ(x[0] - 0.5)├──×─
          │                       │
q2 ───────⊕───────────────────────●───────────
"""
    assert circuit.draw() == str(circuit) == wanted.strip("\n")


def test_wires_that_nothing_joins_are_drawn_without_gaps() -> None:
    assert str(Circuit(2).h(0).ry(1, 0.3)) == "q0 ─────┤H├────\nq1 ──┤RY(0.3)├─"


def test_an_empty_circuit_is_its_wires() -> None:
    assert str(Circuit(2)) == "q0 ─\nq1 ─"


def test_the_names_of_many_qubits_are_aligned() -> None:
    lines = str(Circuit(11).h(10)).splitlines()
    assert (lines[0], lines[10]) == (" q0 ──────", "q10 ──┤H├─")


def test_which_qubit_of_a_matrix_is_which_can_be_seen() -> None:
    lines = str(Circuit(2).unitary(np.eye(4)[[0, 2, 1, 3]], 1, 0)).splitlines()
    assert "┤unitary 1├" in lines[0]
    assert "┤unitary 0├" in lines[2]


def test_what_acts_later_on_a_qubit_is_drawn_further_right() -> None:
    circuit = Circuit(3).cx(0, 2).h(1).h(0)
    first, middle, _ = (line for line in str(circuit).splitlines() if line.startswith("q"))
    assert middle.index("┼") == first.index("●") < middle.index("┤H├") == first.index("┤H├")


@settings(max_examples=60)
@given(circuit=drawn.circuits(channels=True, max_operations=20), width=st.integers(20, 160))
def test_text_keeps_to_its_width_and_shows_every_operation(circuit: Circuit, width: int) -> None:
    text = circuit.draw(width=width)
    for block in text.split("\n\nq0 "):
        lines = f"q0 {block.removeprefix('q0 ')}".splitlines()
        wires = [line for line in lines if line.lstrip().startswith("q")]
        assert len(wires) == circuit.n_qubits
        assert len({len(line) for line in wires}) == 1
        # One operation alone may need more: its label is at most 40 characters, a number and the ends of a box.
        if max(map(len, lines)) > width:
            assert len(wires[0]) <= 54
            assert block.count("┤") <= circuit.n_qubits
    gates = circuit.specs().gates
    crosses, targets = 2 * gates.get("swap", 0), gates.get("cx", 0) + gates.get("ccx", 0)
    controls = sum(count * dots(name) for name, count in gates.items())
    places = sum(len(operation.qubits) for operation in circuit.operations)
    assert (text.count("×"), text.count("⊕"), text.count("●")) == (crosses, targets, controls)
    assert text.count("┤") == text.count("├") == places - crosses - targets - controls


def dots(name: str) -> int:
    return {"cz": 2, "ccx": 2}.get(name, int(name[0] == "c"))


def test_a_name_that_would_break_the_drawing_does_not() -> None:
    text = str(Circuit(1).rx(0, "a\nb\x1b[31m").ry(0, "n" * 200))
    assert text.count("\n") == 0
    assert "RX(a?b?[31m)" in text
    assert "nnn…├" in text


# SVG


def parts_of(svg: str, tag: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(f"{{http://www.w3.org/2000/svg}}{tag}"))


@settings(max_examples=40)
@given(circuit=drawn.circuits(channels=True, max_operations=20), width=st.integers(20, 160))
def test_svg_is_well_formed_and_stays_within_its_frame(circuit: Circuit, width: int) -> None:
    svg = circuit.draw("svg", width=width)
    frame = [float(number) for number in ET.fromstring(svg).attrib["viewBox"].split()]
    assert len(parts_of(svg, "g")) == len(circuit)
    for box in parts_of(svg, "rect"):
        x, y, wide, high = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x < x + wide <= frame[2]
        assert 0 <= y < y + high <= frame[3]


def test_svg_needs_nothing_else() -> None:
    svg = EVERYTHING.draw("svg")
    assert set(re.findall(r"https?://[^\s\"]+", svg)) == {"http://www.w3.org/2000/svg"}
    for word in ("<script", "<image", "<style", "href", "url(", "currentColor"):
        assert word not in svg


def test_names_in_svg_are_text_and_no_markup() -> None:
    svg = Circuit(1).rx(0, '<b>&"').draw("svg")
    assert [text.text for text in parts_of(svg, "text")] == ["q0", 'RX(<b>&")']


def test_colours_tell_what_may_change_a_gate() -> None:
    circuit = Circuit(1).h(0).rx(0, 0.3).ry(0, "a").rz(0, data(0)).p(0, parameter("a") + data(0)).measure(0)
    fixed, number, trained, slot, both, measured = (
        box.attrib["fill"] for box in parts_of(circuit.draw("svg"), "rect")
    )
    assert fixed == number
    assert slot == both
    assert len({fixed, trained, slot, measured}) == 4


def test_every_colour_reads_on_white_and_on_black() -> None:
    svg = EVERYTHING.draw("svg")
    colours = set(re.findall(r"#[0-9a-f]{3,6}", svg))
    assert len(colours) == 6
    for colour in colours - {"#fff"}:
        assert contrast(colour, "#ffffff") > 4
        assert contrast(colour, "#000000") > 3.5
    for box in parts_of(svg, "rect"):
        assert contrast(box.attrib["fill"], "#ffffff") > 4.5


def contrast(first: str, second: str) -> float:
    """Of the Web Content Accessibility Guidelines: 1 for the same, 21 for black and white."""
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


MEASURE = """<!doctype html><meta charset="utf-8"><body style="background:GROUND;margin:0">PICTURE<pre></pre>
<script>
const inside = (a, b) => a.left >= b.left - .5 && a.right <= b.right + .5 && a.top >= b.top - .5
  && a.bottom <= b.bottom + .5;
const box = (element) => element.getBoundingClientRect(), frame = box(document.querySelector("svg"));
const boxes = [...document.querySelectorAll("rect")];
document.querySelector("pre").textContent = JSON.stringify({
  boxes: boxes.length,
  outside: [...document.querySelectorAll("rect,circle,path,text")].filter((e) => !inside(box(e), frame)).length,
  overfull: boxes.filter((e) => !inside(box(e.nextSibling), box(e))).length,
});
</script>"""


@pytest.mark.parametrize("ground", ["#ffffff", "#0d1117"])
def test_a_browser_shows_every_label_inside_its_box(
    chromium: Callable[..., Any], tmp_path: Path, ground: str
) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    page.write_text(MEASURE.replace("GROUND", ground).replace("PICTURE", EVERYTHING._repr_html_()))
    shown = chromium("--window-size=1000,700", "--dump-dom", page.as_uri())
    told = re.search("<pre>(.+?)</pre>", shown.stdout)
    assert told is not None
    assert json.loads(html.unescape(told[1])) == {"boxes": 16, "outside": 0, "overfull": 0}
    chromium("--window-size=1000,700", f"--screenshot={picture}", page.as_uri())
    pixels = reader.imread(picture)[:350, :, :3]
    seen = np.abs(pixels - np.array([int(ground[place : place + 2], 16) / 255 for place in (1, 3, 5)])).max(
        axis=2
    )
    assert 0.02 < (seen > 0.3).mean() < 0.5


# Notebooks, pages and what is refused


def test_notebooks_get_the_picture_and_what_it_is_made_of() -> None:
    assert EVERYTHING._repr_svg_() == EVERYTHING.draw("svg")
    page = EVERYTHING._repr_html_()
    assert EVERYTHING.draw("svg") in page
    assert "Circuit: 4 qubits, 17 operations, 3 parameters, 2 data slots" in page
    assert "Circuit: 1 qubit, 1 operation, 1 parameter, 0 data slots" in Circuit(1).rx(0, "a")._repr_html_()


def test_the_picture_in_the_docs_is_what_its_code_draws() -> None:
    page = (DOCS / "circuits.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    assert (DOCS / "pictures" / "circuit.svg").read_text(encoding="utf-8") == names["circuit"].draw("svg")


@pytest.mark.parametrize(
    ("subject", "options", "message"),
    [
        ("style", {"style": "png"}, "style='png' is unknown; there are: text, svg"),
        ("width", {"width": 19}, "width=19 must be an integer from 20 on"),
        ("width", {"width": 80.0}, "width=80.0 must"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(subject: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as refused:
        Circuit(1).draw(**options)
    assert refused.value.subject == subject
