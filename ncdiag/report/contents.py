"""What a report holds, before any of it is HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ncdiag.domain.page import Item, Legend, Page, Paragraph, find_commands
from ncdiag.domain.result import Result, plain


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The bytes of an image file, and which kind it is: svg or png."""

    content: bytes
    form: str


@dataclass(frozen=True, kw_only=True)
class Image:
    """A figure as the browser shows it: an SVG or PNG for a wide window and one for a phone, and what it shows."""

    wide: Picture
    narrow: Picture
    alt: str
    command: str  # draws it again


@dataclass(frozen=True, kw_only=True)
class Method:
    """How figures were computed, and which they are."""

    text: str
    quantities: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A question with its answer: the page, figures, and the numbers behind it.

    `no_image` says why there is no figure, where there is none. `commands` are ready to paste: what would train the
    runs that are missing. `results` are plain values, with those that every result has apart from `more`.
    """

    name: str
    page: Page
    commands: Sequence[str]
    results: Sequence[Mapping[str, Any]]
    methods: Sequence[Method] = ()
    images: Sequence[Image] = ()
    no_image: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole report: its questions, and its runs as rows of plain values that `ncdiag.report.runs` describes.

    `made` is when, `rule` what an onset is, `command` what would make it again. `curves` holds the packed columns of
    each run by its id, none of them where a server hands them out one by one; `every` says which evaluation of a
    run they keep, 1 for all of them.
    """

    title: str
    store: str
    made: str
    rule: str
    eps: float | None  # the threshold on NC1 that the charts draw; None where the onset goes by another metric
    command: str
    notes: Sequence[str]
    sections: Sequence[Section]
    runs: Sequence[Mapping[str, Any]]
    curves: Mapping[int, str] = field(default_factory=dict)
    every: int = 1
    live: bool = False


def make_section(
    name: str,
    results: Sequence[Result],
    page: Page,
    *,
    images: Sequence[Image] = (),
    no_image: str = "",
) -> Section:
    """Give a question with its answer: its results, and the page that says them.

    `no_image` says why there is no figure, and in a second line what would help; what the reading says already is not
    said again.
    """
    why = no_image.partition("\n")[0]
    training = [command for command in find_commands(no_image) if not command.startswith("ncdiag analyze")]
    said = [
        command
        for part in page.parts
        for block in part.blocks
        if isinstance(block, (Paragraph, Legend, Item))
        for command in find_commands(block.text)
    ]
    methods: dict[str, dict[str, None]] = {}
    for result in results:
        if result.method:
            methods.setdefault(result.method, {})[result.quantity] = None
    return Section(
        name=name,
        page=page,
        commands=list(dict.fromkeys([*said, *training])),
        results=[_with_more(result) for result in results],
        methods=[Method(text=text, quantities=list(quantities)) for text, quantities in methods.items()],
        images=images,
        no_image="" if any(why.rstrip(".") in text for part in page.parts for text in part.readings) else why,
    )


def _with_more(result: Result) -> dict[str, Any]:
    return {**result.to_dict(), "more": plain(result.extra)}
