import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from ncdiag.domain.page import (
    Cautions,
    Command,
    Glossary,
    Item,
    Legend,
    Page,
    Paragraph,
    Part,
    Reading,
    Table,
)
from ncdiag.domain.result import Result
from ncdiag.report import page
from ncdiag.report.contents import Image, Picture, Report, make_section
from ncdiag.report.page import json_text, render_answers, render_report

ATTACK = "</script><script>alert(1)</script>\u2028<img src=x onerror=alert(2)>'\"&amp;"
PAGE = Page(
    "What?",
    [
        Part(
            [
                Reading(ATTACK),
                Paragraph(ATTACK),
                Legend(ATTACK),
                Item(ATTACK, ATTACK),
                Command(ATTACK),
                Table([[ATTACK, ATTACK], [f"  {ATTACK}", ATTACK]], right=[False, True]),
                Glossary([(ATTACK, ATTACK)]),
                Cautions([ATTACK]),
            ],
            heading=ATTACK,
        )
    ],
    rule="nc1 < 0.01",
)
IMAGE = Image(
    wide=Picture(content=b"<svg>wide</svg>", form="svg"),
    narrow=Picture(content=b"\x89PNG", form="png"),
    alt=ATTACK,
    command=f"ncdiag plot {ATTACK}",
)
RESULT = Result(
    question="threshold",
    quantity="fn_star",
    group={"arch": ATTACK},
    estimate=1.5,
    method=ATTACK,
    warnings=(ATTACK,),
    extra={"verdict": "supported", ATTACK: ATTACK, "rows": [{ATTACK: ATTACK}]},
)
REPORT = Report(
    title=ATTACK,
    store=ATTACK,
    made="2026-01-01",
    rule="nc1 < 0.01",
    eps=0.01,
    command=ATTACK,
    notes=[ATTACK],
    sections=[make_section("threshold", [RESULT], PAGE, images=[IMAGE])],
    runs=[{"id": 1, "run": ATTACK}],
    curves={1: "AAAA"},
)


class Tags(HTMLParser):
    """The elements of a page with their attributes, its texts, and what its scripts and styles hold."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self.raw.append((self.cdata_elem, self.tags[-1][1], data))
        else:
            self.texts.append(data)


def test_whatever_a_text_holds_it_stays_a_text() -> None:
    tags = Tags(render_report(REPORT))
    assert [kind for tag, kind in tags.tags if tag == "script"] == [
        {"type": "application/json", "id": "shared"},
        {"type": "text/plain", "id": "curves-1"},
        {},
    ]
    assert all(not name.startswith("on") and name != "style" for _, kind in tags.tags for name in kind)
    images = [kind for tag, kind in tags.tags if tag == "img"]
    assert [image["alt"] for image in images] == [ATTACK]
    assert {text.strip() for text in tags.texts} >= {ATTACK}
    assert "".join(tags.texts).count("alert(1)") >= 10  # title, store, notes, reading, caution, methods, figures...


def test_the_page_asks_for_nothing() -> None:
    page = render_report(REPORT)
    addresses = [
        value
        for tag, kind in Tags(page).tags
        for name, value in kind.items()
        if name in ("src", "srcset", "href", "data", "action") and tag != "a"
    ]
    assert len(addresses) == 3  # icon and two sizes of a figure
    assert all(value is not None and value.startswith("data:") for value in addresses)
    assert "@import" not in page
    assert "url(" not in page


def test_figures_are_in_the_page_byte_for_byte() -> None:
    wide, narrow = (f"data:{kind};base64," for kind in ("image/svg+xml", "image/png"))
    tags = dict(Tags(render_answers(REPORT)).tags)
    assert base64.b64decode(str(tags["img"]["src"]).removeprefix(wide)) == b"<svg>wide</svg>"
    assert base64.b64decode(str(tags["source"]["srcset"]).removeprefix(narrow)) == b"\x89PNG"


@pytest.mark.parametrize(("live", "connect"), [(False, "'none'"), (True, "'self'")])
def test_the_policy_allows_the_scripts_and_styles_of_the_page_and_no_others(live: bool, connect: str) -> None:
    tags = Tags(render_report(replace(REPORT, live=live)))
    (policy,) = [kind["content"] for tag, kind in tags.tags if kind.get("http-equiv") == "Content-Security-Policy"]
    allowed = dict(part.split(" ", 1) for part in str(policy).split("; "))
    assert allowed["default-src"] == allowed["base-uri"] == allowed["form-action"] == "'none'"
    assert allowed["connect-src"] == connect
    assert allowed["img-src"] == "data:"
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        contents = [text for name, kind, text in tags.raw if name == tag and "type" not in kind]
        digest = hashlib.sha256("".join(contents).encode()).digest()
        assert allowed[directive] == f"'sha256-{base64.b64encode(digest).decode()}'"
    order = [kind.get("http-equiv") or tag for tag, kind in tags.tags]
    assert order.index("Content-Security-Policy") < min(order.index("style"), order.index("script"))


def test_json_in_a_script_comes_back_as_it_was() -> None:
    value: dict[str, Any] = {ATTACK: [ATTACK, None, 1.5, True]}
    text = str(json_text(value))
    assert json.loads(text) == value
    assert text.isascii()
    assert not re.search("[<>&]", text)
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(float("nan"))


def test_a_section_says_what_was_found_how_and_what_to_keep_in_mind() -> None:
    blocks = [Reading("it is 1.5."), Paragraph("This trains more: ncdiag sweep --seed 0:5")]
    section = make_section("threshold", [RESULT], Page("What?", [Part(blocks, heading="mlp")]))
    assert section.commands == ["ncdiag sweep --seed 0:5"]
    assert [(method.text, method.quantities) for method in section.methods] == [(ATTACK, ["fn_star"])]
    texts = " ".join(" ".join(Tags(render_answers(replace(REPORT, sections=[section]))).texts).split())
    assert "What? mlp It is 1.5." in texts
    assert "fn star" in texts
    assert "supported" in texts
    assert "ncdiag analyze threshold --format json" in texts


def test_thousands_of_figures_are_left_to_a_program() -> None:
    results = [replace(RESULT, group={"depth": f"number {place}"}) for place in range(1000)]
    section = make_section("threshold", results, PAGE)
    texts = " ".join(Tags(render_answers(replace(REPORT, sections=[section]))).texts)
    assert "The first 200 of 1000 figures." in " ".join(texts.split())
    assert "number 199" in texts
    assert "number 200" not in texts


@pytest.mark.parametrize(("name", "first"), [("claims", "table"), ("threshold", "img")])
def test_the_table_of_the_claims_comes_before_their_figure(name: str, first: str) -> None:
    table = Table([["claim", "here", "verdict"], ["one", "1.5", "refuted"]], right=[False] * 3)
    section = make_section(name, [], Page("What?", [Part([table])]), images=[IMAGE])
    tags = [tag for tag, _ in Tags(render_answers(replace(REPORT, sections=[section]))).tags]
    assert next(tag for tag in tags if tag in ("table", "img")) == first


def test_why_there_is_no_figure_comes_with_what_would_help() -> None:
    why = "all runs have one depth (5).\n`ncdiag sweep --depth 2,3,5 --seed 0:3` trains such runs"
    page = Page("Depth?", [Part([Paragraph("So ncdiag sweep --seed 0:5")])])
    section = make_section("depth", [], page, no_image=why)
    assert section.no_image == "all runs have one depth (5)."
    assert section.commands == ["ncdiag sweep --seed 0:5", "ncdiag sweep --depth 2,3,5 --seed 0:3"]


def test_what_the_reading_says_is_not_said_again_for_the_figure() -> None:
    why = "all runs have one depth (5).\n`ncdiag analyze claims` says what to train beside these runs"
    page = Page("Depth?", [Part([Reading("not tested: all runs have one depth (5).")])])
    section = make_section("depth", [], page, no_image=why)
    assert (section.no_image, section.commands) == ("", [])  # the claims are on the same page


def test_the_same_report_gives_the_same_page() -> None:
    assert render_report(REPORT) == render_report(REPORT)


def test_an_option_is_kept_in_one_line_and_the_rest_is_a_text() -> None:
    assert page._unbroken("a < b with --weight-decay 1e-4 or --lr") == (
        'a &lt; b with <span class="option">--weight-decay</span> 1e-4 or <span class="option">--lr</span>'
    )


def test_a_long_word_in_a_cell_may_go_on_below() -> None:
    assert page._cell("mlp digits") == "mlp digits"
    assert page._cell("weight_decay=0.001, no") == "weight_d<wbr>ecay=0.0<wbr>01, no"
    assert page._cell("<script>&<script>") == "&lt;script&gt;<wbr>&amp;&lt;script<wbr>&gt;"


def test_a_cell_is_indented_by_the_style_as_a_space_would_be_a_line_of_its_own_on_a_phone() -> None:
    table = Table([["claim", "here"], ["1", "all"], ["", "  mlp digits"], ["  cnn", "0.5"]], right=[False] * 2)
    section = make_section("claims", [], Page("What?", [Part([table])]))
    html = render_answers(replace(REPORT, sections=[section]))
    assert re.findall(r'<t[hd](?: scope="row")?( class="indent")?>([^<]*)</t[hd]>', html) == [
        ("", "1"),
        ("", "all"),
        ("", ""),
        (' class="indent"', "mlp digits"),
        (' class="indent"', "cnn"),
        ("", "0.5"),
    ]
