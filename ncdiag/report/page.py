"""A report as one HTML file that asks nothing of the network: styles, scripts, figures and curves are all inside.

Every text goes through the escaping of Jinja, and a Content-Security-Policy allows no script and no style but those
whose hashes it names, and no connection at all (to its own server only, where one keeps the page fresh). So even a
text that got through would find nothing to run, and no request can leave.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ncdiag import __version__
from ncdiag.domain.shares import four_digits
from ncdiag.report.contents import Picture, Report
from ncdiag.report.runs import CURVES

_SCRIPTS = ("uPlot.iife.min.js", "charts.js", "curves.js", "table.js", "all.js", "report.js")
_STYLES = ("uPlot.min.css", "report.css")
_VERDICTS = ("supported", "refuted", "inconclusive", "not testable")
_MOST_RESULTS = 200  # of a question, one by one; a large store has thousands, for a program to read
_LONG = 12  # letters of a word that a phone has no room for beside other cells
_PIECE = re.compile(r".{1,8}")
_MIME = {"svg": "image/svg+xml", "png": "image/png"}


def render_report(report: Report) -> str:
    """Give the whole page."""
    scripts = Markup("\n").join(_asset(name) for name in _SCRIPTS)
    styles = Markup("\n").join(_asset(name) for name in _STYLES)
    answers = render_answers(report)
    shared = {
        "live": report.live,
        "answers": entity_tag(answers.encode()),
        "rule": report.rule,
        "eps": report.eps,
        "columns": list(CURVES),
        "runs": list(report.runs),
    }
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            answers=Markup(answers),  # noqa: S704  # made by Jinja, escaped
            version=__version__,
            scripts=scripts,
            styles=styles,
            policy=content_policy(str(scripts), str(styles), live=report.live),
            shared=json_text(shared),
            licence=_asset("uPlot.LICENSE"),
        )
    )


def render_answers(report: Report) -> str:
    """Give the part of the page that holds the questions, for a page that is already open."""
    return _environment().get_template("answers.html").render(report=report)


def entity_tag(content: bytes) -> str:
    """Give the ETag of what a server hands out."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def content_policy(scripts: str, styles: str, *, live: bool) -> str:
    """Give the Content-Security-Policy of a page with one script and one style."""
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src '{_source_hash(scripts)}'; style-src '{_source_hash(styles)}'; "
        f"img-src data:; connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def json_text(value: Any) -> Markup:
    """Give a value as JSON that may stand in a script element: ASCII, and nothing that HTML could take for a tag."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), default=str)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  # what could end the element has just been replaced


def data_uri(picture: Picture) -> str:
    """Give an image as an address that holds it. As an image an SVG runs no script and loads nothing."""
    return f"data:{_MIME[picture.form]};base64,{base64.b64encode(picture.content).decode('ascii')}"


def _source_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ncdiag.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    environment.filters["number"] = _number
    environment.filters["unbroken"] = _unbroken
    environment.filters["cell"] = _cell
    environment.tests["table"] = _is_table
    environment.tests["indented"] = _is_indented
    environment.globals |= {"verdicts": _VERDICTS, "most_results": _MOST_RESULTS}
    return environment


def _asset(name: str) -> Markup:
    return Markup(_read(name))  # noqa: S704  # a file of this package


def _read(name: str) -> str:
    return (files("ncdiag.report") / "static" / name).read_text(encoding="utf-8").strip()


def _number(value: object) -> str:
    """Write a figure with four significant digits, and an en dash for what is not there."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return four_digits(value)
    return str(value)


def _cell(text: str) -> Markup:
    """Give the text of a cell, with places where a long word may go on below; what indents it is for the style."""
    words = (_PIECE.findall(word) if len(word) > _LONG else [word] for word in re.split(r"(\s+)", text.lstrip()))
    return Markup("").join(Markup("<wbr>").join(pieces) for pieces in words)


def _unbroken(text: str) -> Markup:
    """Give a text in which no line ends inside an option such as --weight-decay."""
    parts = re.split(r"(--[a-z][a-z-]*)", text)
    option = Markup('<span class="option">{}</span>')
    return Markup("").join(option.format(part) if place % 2 else part for place, part in enumerate(parts))


def _is_indented(text: str) -> bool:
    """Say whether a terminal shows a cell as one of those that belong to the row above."""
    return text.startswith("  ")


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)
