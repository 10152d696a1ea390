"""The page's elements: escaped text, tables, figures and the style sheet."""

from dataclasses import dataclass
from html import escape

import numpy as np

from skydelta.report.style import STYLE


def tag(name, content="", **attributes):
    """An element; `content` is HTML, attribute values are text. A trailing _ is cut from names."""
    parts = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    return f"<{name}{''.join(parts)}>{content}</{name}>"


def text(value):
    """Text as HTML."""
    return escape(str(value))


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    key
        Name of the value in a row.
    title
        Heading.
    help
        Tooltip of the heading: what it is, in plain words.
    form
        Format of a number, as ``".2f"``; None for text, ``"html"`` for ready HTML.
    group
        Heading above several neighbouring columns.
    """

    key: str
    title: str
    help: str = ""
    form: str | None = None
    group: str = ""

    @property
    def is_number(self):
        """Whether it is set flush right."""
        return self.form not in (None, "html")


def number(value, form):
    """A number in a format; a dash where there is none."""
    if value is None or not np.isfinite(value):
        return "–"
    shown = format(value, form)
    if not shown.strip("-0."):
        shown = shown.lstrip("-")
    return shown.replace(",", "\u2009").replace("-", "−")


def cell(column, row):
    """A table cell."""
    value = row.get(column.key)
    if column.form == "html":
        return tag("td", value or "")
    if column.form is None:
        return tag("td", text("" if value is None else value))
    return tag("td", number(value, column.form), class_="n")


def table(columns, rows, **attributes):
    """A table with headings that explain themselves."""
    head = "".join(
        tag("th", text(c.title), title=c.help or None, class_="n" if c.is_number else None)
        for c in columns
    )
    groups = _group_row(columns)
    body = "".join(tag("tr", "".join(cell(c, row) for c in columns)) for row in rows)
    content = tag("thead", groups + tag("tr", head)) + tag("tbody", body)
    return tag("div", tag("table", content, **attributes), class_="wide")


def _group_row(columns):
    if not any(c.group for c in columns):
        return ""
    cells, start = [], 0
    for k in range(1, len(columns) + 1):
        if k == len(columns) or columns[k].group != columns[start].group:
            name = columns[start].group
            style = "group" if name else None
            cells.append(tag("th", text(name), colspan=k - start, class_=style))
            start = k
    return tag("tr", "".join(cells))


def figure(content, caption, class_=None):
    """A figure with its caption; both are HTML."""
    return tag("figure", content + tag("figcaption", caption), class_=class_)


def folded(title, content, *, is_open=False):
    """A block that opens on a click."""
    state = " open" if is_open else ""
    return f"<details{state}>{tag('summary', text(title))}{content}</details>"


def page(title, body):
    """The whole document."""
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{text(title)}</title><style>\n{STYLE}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )
