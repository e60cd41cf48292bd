"""The report: one HTML file that needs nothing else, neither a network nor a script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Final

from qstore_db.demo import drawing
from qstore_db.demo.beyond import FAR, Case, Interval, R
from qstore_db.demo.contexts import CONTEXTS
from qstore_db.demo.dataset import CLASSES
from qstore_db.demo.findings import Findings
from qstore_db.demo.picture import data_uri
from qstore_db.demo.projection import SHOWN
from qstore_db.demo.showcase import Answer
from qstore_db.pictures.inline import walk_legend, walk_svg
from qstore_db.pictures.page import whole_page
from qstore_db.records import Match

_STYLE: Final = Path(__file__).with_name("report.css")
_FOOTER: Final = (
    "<footer>Written by <code>qstore demo</code>. Images: Fashion-MNIST, copyright 2017 Zalando SE, MIT licence. "
    "Every figure on this page was measured in this run.</footer>"
)


def write_report(findings: Findings, path: Path) -> Path:
    """Write the page, durable or not, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(findings), encoding="utf-8")
    return path


def page(findings: Findings) -> str:
    """The whole page."""
    body = "".join(
        [
            _header(findings),
            _questions(findings),
            _beyond(findings),
            _map(findings),
            _crash(findings),
            _FOOTER,
        ]
    )
    return whole_page("qstore-db demonstration", _STYLE.read_text(encoding="utf-8"), body)


def _header(found: Findings) -> str:
    comparison = found.comparison
    tiles = (
        (f"{found.imported:,}", f"images stored durably in {found.import_seconds:.1f}&nbsp;s"),
        (
            f"{comparison.plain.mean:.2f} → {comparison.tunnel.mean:.2f}",
            f"of the same kind beyond the {R} nearest: plain ranks → tunnelling",
        ),
        (
            f"{found.lost} of {found.acknowledged:,}",
            f"acknowledged writes lost in {len(found.kills)} hard kills",
        ),
        ("intact" if not found.problems else "damaged", "every stored byte checked after the kills"),
    )
    drawn = "".join(f'<div class="tile"><b>{value}</b><span>{text}</span></div>' for value, text in tiles)
    return (
        "<header><h1>A vector database, shown on pictures of clothes</h1>"
        f'<p class="lead">{found.imported:,} small pictures are stored as vectors of 784 grey values. This page '
        "asks for pictures like a given one in several ways, looks beyond the obvious neighbours, and then kills "
        f'the server amid writes to see what survives.</p><p class="soft">Data: {escape(found.images.source)}. '
        "Everything went through a client of a server, over TLS.</p>"
        f'</header><div class="tiles">{drawn}</div>'
    )


def _questions(found: Findings) -> str:
    label = found.query_class
    answers = "".join(_answer(found, answer) for answer in found.answers)
    return (
        '<section id="queries"><h2>One picture, six questions</h2>'
        "<p>Each record belongs to several <em>contexts</em> at once, with weights that add up to 1, like the "
        "probabilities of a quantum state. A query may ask in one context, or in a superposition of several.</p>"
        f'<div class="asked"><figure><span class="frame big">{_image(found, found.query_image, test=True)}</span>'
        f"<figcaption><b>the query</b></figcaption></figure><div><h3>{_article(label).capitalize()} from the test "
        'set</h3><p class="soft">It is not stored in the database. Under each result stands its class, and, where '
        "a context was asked for, its probability in that context.</p></div></div>"
        f"{answers}<h3>The contexts of this demonstration</h3>"
        '<p class="soft">Invented from the labels, so that anyone can check a result by looking at it.</p>'
        f'<div class="scroll">{_context_table()}</div></section>'
    )


def _answer(found: Findings, answer: Answer) -> str:
    question = answer.question
    figures = "".join(_result(found, match) for match in answer.matches)
    return (
        f'<div class="question"><div><h3>{escape(question.title)}</h3><p>{escape(question.explanation)}</p>'
        f'<code class="block">{escape(question.call)}</code></div><div class="strip five">{figures}</div></div>'
    )


def _context_table() -> str:
    names = list(dict.fromkeys(name for pairs in CONTEXTS.values() for name, _ in pairs))
    head = "".join(f"<th>{name}</th>" for name in names)
    rows: list[str] = []
    for kind in CLASSES:
        weights = dict(CONTEXTS[kind])
        cells = "".join(
            f"<td>{weights[name]:g}</td>" if name in weights else '<td class="none">·</td>' for name in names
        )
        rows.append(f"<tr><td>{kind}</td>{cells}</tr>")
    return f"<table><thead><tr><th>class</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _beyond(found: Findings) -> str:
    comparison = found.comparison
    count = len(comparison.cases)
    cases = "".join(_case(found, rule, case) for rule, case in comparison.examples())
    difference = comparison.difference
    return (
        '<section id="beyond"><h2>Beyond the neighbourhood</h2>'
        f"<p>The {R} nearest records form the <em>well</em> of a query: its obvious neighbours. Which records "
        "outside it are still of the same kind? Plain search goes on by distance. <code>tunnel_search</code> lets "
        "probability spread over the graph of neighbours of neighbours, and so follows the shape that a kind of "
        "thing has among all the vectors.</p>"
        f"<p><b>Far P@{FAR}</b> is the share of {FAR} results outside the well that carry the query's label: ranks "
        f"{R + 1} to {R + FAR} for plain search, the {FAR} best beyond the well for tunnelling. Means over {count} "
        "test images, equally many of each class, with 95 % bootstrap intervals.</p>"
        f'<div class="bars">{_bar("kNN ranks", comparison.plain, "plain")}'
        f"{_bar('tunnel_search', comparison.tunnel, 'tunnel')}</div>"
        f'<p class="soft">Difference {difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]. '
        f"Tunnelling found more on {comparison.better} queries, less on {comparison.worse}, the same on "
        f"{count - comparison.better - comparison.worse}. One search took {comparison.milliseconds:.0f} ms.</p>"
        "<h3>Class by class</h3>"
        '<p class="soft">Open dot: plain ranks. Filled dot: tunnelling. The figure is the difference; '
        "it need not help every class.</p>"
        f"{drawing.classes(comparison)}"
        "<div class='case'><h3>Three queries, chosen by rule</h3>"
        '<p class="soft">A solid green frame marks a result of the query\'s own class, a dashed red one '
        f"another class.</p></div>{cases}</section>"
    )


def _bar(name: str, interval: Interval, kind: str) -> str:
    low, high = 100 * interval.low, 100 * interval.high
    return (
        f'<div class="bar"><span>{name}</span><div class="track">'
        f'<div class="fill {kind}" style="width:{100 * interval.mean:.1f}%"></div>'
        f'<div class="whisker" style="left:{low:.1f}%;width:{high - low:.1f}%"></div></div>'
        f"<b>{interval.mean:.3f}</b></div>"
    )


def _case(found: Findings, rule: str, case: Case) -> str:
    return (
        f'<div class="case"><div class="asked"><figure><span class="frame big">'
        f"{_image(found, case.image, test=True)}</span></figure><div><h3>{escape(rule)}</h3>"
        f'<p class="soft">The query: {_article(case.label)}.</p></div></div><div class="versus">'
        f"{_ranks(found, f'kNN, ranks {R + 1} to {R + FAR}', case.plain, case)}"
        f"{_ranks(found, f'tunnel_search, {FAR} beyond the well', case.tunneled, case)}</div></div>"
    )


def _ranks(found: Findings, title: str, matches: Sequence[Match], case: Case) -> str:
    hits = sum(match.metadata["class"] == case.label for match in matches)
    figures = "".join(_result(found, match, case.label) for match in matches)
    return (
        f'<div><h4><span class="share">{hits} of {len(matches)}</span>{title}</h4>'
        f'<div class="strip five">{figures}</div></div>'
    )


def _map(found: Findings) -> str:
    projection, case = found.map, found.map.case
    plain = drawing.neighbourhood(projection, case.plain, f"kNN ranks {R + 1} to {R + FAR} around the query")
    tunneled = drawing.neighbourhood(projection, case.tunneled, "tunnel_search around the query")
    return (
        '<section id="map"><h2>The same search as a map</h2>'
        f"<p>The first of the three queries above, {_article(case.label)}, among its {SHOWN:,} nearest records. "
        f"Plain search answers with distance ranks {R + 1} to {R + FAR}; what tunnelling found lies at ranks "
        f"{projection.ranks[0]:,} to {projection.ranks[-1]:,}.</p>"
        '<p class="soft">The axes are the two directions in which the well and both lists of results vary most. '
        f"They keep {projection.kept:.0%} of the variance, so this is a shadow of distances among 784 numbers: "
        'a record may look nearer or farther than it is.</p><div class="versus">'
        f"<div><h4>kNN, ranks {R + 1} to {R + FAR}</h4>{plain}</div>"
        f"<div><h4>tunnel_search, {FAR} beyond the well</h4>{tunneled}</div></div>"
        f"{drawing.legend(case.label, R)}{_walk(found)}</section>"
    )


def _walk(found: Findings) -> str:
    walk = found.walk
    return (
        '<div class="case"><h3>How tunnelling got there</h3>'
        "<p>Each dot is a picture, and a line joins it to the pictures most like it. The search starts at "
        "the dots nearest to the star and steps from picture to picture along these lines, "
        "more often where two are much alike. A picture that many such paths lead to is probably of the "
        "same kind, though it may look unlike the query itself.</p>"
        f'<p class="soft">Shown are the {len(walk.points):,} records that were reached most, and the '
        f"{len(walk.edges):,} lines between them; the plane keeps {walk.kept:.0%} of their variance. Point at a "
        f'marked record for its id.</p><div class="walk">{walk_svg(walk)}</div>'
        f'<div class="soft">{walk_legend()}</div></div>'
    )


def _crash(found: Findings) -> str:
    def row(name: str, cells: Iterable[object]) -> str:
        return f"<tr><td>{name}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"

    kills = found.kills
    head = "".join(f"<th>kill {number}</th>" for number in range(1, len(kills) + 1))
    rows = "".join(
        [
            row("acknowledged before", (f"{kill.before:,}" for kill in kills)),
            row("acknowledged after", (f"{kill.acknowledged - kill.before:,}" for kill in kills)),
            row("found, bit for bit", (f"{kill.kept:,}" for kill in kills)),
            row("lost", (kill.lost for kill in kills)),
            row("answered again after", (f"{kill.seconds:.2f}&nbsp;s" for kill in kills)),
            row("full check", (escape("; ".join(kill.problems)) or "intact" for kill in kills)),
        ]
    )
    return (
        '<section id="crash"><h2>Killed in the middle of writing</h2>'
        "<p>Four threads wrote to the database through a client, and noted each record's number once the server "
        "had acknowledged it. The server was then killed with SIGKILL, which no program can catch, and another "
        "started in its place. The client sent again what the kill had cut off, under keys by which nothing is "
        "stored twice: no call failed. Every acknowledged record was looked up and compared.</p>"
        f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody>'
        f'</table></div><p class="soft after">The images imported before: {found.images_after:,} of '
        f"{found.imported:,} are there. A kill tests the process, not the disk: against a power failure each "
        "acknowledgement waits until the disk reports its data as written.</p></section>"
    )


def _result(found: Findings, match: Match, wanted: str | None = None) -> str:
    kind = str(match.metadata["class"])
    frame = "frame" if wanted is None else "frame right" if kind == wanted else "frame wrong"
    weight = "" if match.weight is None else f"<br><b>{match.weight:.2f}</b>"
    index = int(match.id.rpartition("-")[2])
    return (
        f'<figure><span class="{frame}">{_image(found, index, test=False, name=kind)}</span>'
        f"<figcaption>{escape(kind)}{weight}</figcaption></figure>"
    )


def _image(found: Findings, index: int, *, test: bool, name: str | None = None) -> str:
    images = found.images.test_images if test else found.images.train_images
    kind = name or CLASSES[found.images.test_labels[index]]
    return f'<img width="28" height="28" alt="{escape(kind)}" src="{data_uri(images[index])}">'


def _article(label: str) -> str:
    """A class with its article, in running text."""
    name = label if label.startswith("T-") else label.lower()
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
