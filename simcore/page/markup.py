"""Markup in which text cannot become markup, and the one file that holds a whole page."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

RUN = ("shell.js", "window.js", "timeline.js", "grids.js", "charts.js", "waiting.js", "start.js")
SWEEP = ("shell.js", "charts.js", "points.js", "lines.js", "heat.js", "front.js", "parallel.js", "rows.js", "start.js")
"""The scripts of the two kinds of pages, in the order in which they build on each other."""


LONG = 400
"""Rows of a table from which on its frame is as high as it may be, so that a browser need not lay it out unseen."""


WHOLE = 14
"""Letters of a row's name up to which it stays on one line, as the name of a link always does."""


class Markup(str):
    """Text that is markup already; whatever else is put into an element is escaped."""

    __slots__ = ()


Content = str | int | float | Markup | Iterable["Content"]
EMPTY = {"input", "br", "rect", "line", "circle", "path", "meta", "polyline", "col", "wbr"}


@dataclass(frozen=True)
class Chapter:
    """One part of a page: the anchor that the contents lead to, its heading, and its body."""

    anchor: str
    heading: str
    body: Markup


def element(tag: str, attributes: Mapping[str, object] | None = None, *content: Content) -> Markup:
    """Return an element; attributes that are None or False are left out, True stands alone, text is escaped."""
    written = "".join(
        f" {key}" if value is True else f' {key}="{html.escape(_plain(value))}"'
        for key, value in (attributes or {}).items()
        if value is not None and value is not False
    )
    if tag in EMPTY and not content:
        return Markup(f"<{tag}{written}/>")
    return Markup(f"<{tag}{written}>{joined(*content)}</{tag}>")


def joined(*content: Content) -> Markup:
    """Return all content one after another, text escaped."""
    parts = []
    for part in content:
        if isinstance(part, Markup):
            parts.append(str(part))
        elif isinstance(part, str | int | float):
            parts.append(html.escape(_plain(part)))
        else:
            parts.append(str(joined(*part)))
    return Markup("".join(parts))


def _plain(value: object) -> str:
    """Return a value as text without the control characters that no HTML file may hold."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", str(value))


def table(
    headings: Sequence[str], rows: Iterable[Sequence[Content]], *, label: str, numeric: Iterable[int] = (),
    filtered: bool = False,
) -> Markup:  # fmt: skip
    """Return a table that its reader can sort by any column, the ``numeric`` ones right-aligned; ``filtered`` adds a
    field in which to look for rows. Of a cell (text, number) the number decides the order."""
    right = set(numeric)
    lines = []
    for row in rows:
        cells = []
        for i, cell in enumerate(row):
            shown, order = cell if isinstance(cell, tuple) else (cell, None)
            about = {"class": "number" if i in right else None, "data-order": order}
            if i == 0:
                whole = len(str(shown)) <= WHOLE or "->" in str(shown)
                named = isinstance(shown, str) and not isinstance(shown, Markup)
                shown = _breakable(str(shown)) if named and not whole else shown
                about |= {"scope": "row", "class": "whole" if named and whole else None}
            cells.append(element("th" if i == 0 else "td", about, shown))
        lines.append(element("tr", None, cells))
    heads = [
        element("th", {"scope": "col", "class": "number" if i in right else None}, heading)
        for i, heading in enumerate(headings)
    ]
    body = element(
        "table",
        {"class": "sortable"},
        element("thead", None, element("tr", None, heads)),
        element("tbody", None, lines),
    )
    # A region that scrolls must be reachable from the keyboard.
    shape = "scroll long" if len(lines) > LONG else "scroll"
    held = element("div", {"class": shape, "tabindex": "0", "role": "region", "aria-label": label}, body)
    field = element(
        "input", {"type": "search", "class": "filter", "placeholder": "filter rows", "aria-label": f"filter: {label}"}
    )
    return element("div", {"class": "tabled"}, field if filtered else "", held)


def _breakable(name: str) -> Markup:
    """Return a name that a narrow screen may break between its parts."""
    return Markup("<wbr>".join(str(joined(part)) for part in re.split(r"(?<=[._])(?=\w)", name)))


def chart(kind: str, source: str, label: str, **more: object) -> Markup:
    """Return the place at which the page's scripts draw a chart of ``kind`` from the embedded data ``source``."""
    about = {"class": "chart", "data-chart": kind, "data-source": source, "data-label": label}
    return element("div", about | {f"data-{key}": value for key, value in more.items()})


def document(
    title: str, subtitle: str, chapters: Sequence[Chapter], data: Mapping[str, Any], scripts: Sequence[str] = RUN
) -> str:
    """Return the whole page: it fetches nothing, and runs no script but its own ``scripts``.

    The policy in its head names the digests of its one script and its one style sheet, so that a browser runs nothing
    else even where markup had slipped in.
    """
    style, script = _asset("page.css"), "".join(_asset(name) for name in scripts)
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    links = [element("a", {"href": f"#{chapter.anchor}"}, chapter.heading) for chapter in chapters]
    head = element(
        "header", None,
        element("div", {"class": "titles"}, element("h1", None, title), element("p", None, subtitle)),
        element("button", {"id": "theme", "type": "button", "class": "button"}, "theme: system"),
    )  # fmt: skip
    sections = [
        element(
            "section", {"id": chapter.anchor, "aria-labelledby": f"{chapter.anchor}-heading"},
            element(
                "details", {"class": "chapter", "open": True},
                element("summary", None, element("h2", {"id": f"{chapter.anchor}-heading"}, chapter.heading)),
                chapter.body,
            ),
        )
        for chapter in chapters
    ]  # fmt: skip
    unable = element("noscript", None, element("p", {"class": "warning"}, "Diagrams need JavaScript."))
    body = joined(
        element("a", {"class": "skip", "href": f"#{chapters[0].anchor}"}, "skip to the contents"),
        head,
        element("nav", {"aria-label": "chapters"}, links),
        element("main", None, unable, sections),
        element("div", {"id": "tip", "role": "tooltip", "hidden": True}),
    )  # fmt: skip
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(_plain(title))}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n"
        f'<script type="application/json" id="numbers">{embedded(data)}</script>\n<script>{script}</script>\n'
        "</body>\n</html>\n"
    )


def embedded(data: Mapping[str, Any]) -> str:
    """Return ``data`` as JSON that no text in it can end early."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return (files("simcore.page") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
