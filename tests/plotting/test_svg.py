import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncdiag.plotting.layout import Sheet, start_figure
from ncdiag.plotting.style import PAGES, figure_bytes, figure_style
from ncdiag.plotting.svg import shrink_svg

Places = list[list[tuple[float, float]]]


def wrap(path: str) -> str:
    return f'<svg>\n <g id="a">\n  <path d="{path}" style="fill: none; stroke: #000000"/>\n </g>\n</svg>'


def drawn(text: str) -> Places:
    """Follow a path of lines as a browser does, and give the places of each part of it."""
    (data,) = re.findall(r' d="([^"]*)"', text)
    parts: Places = []
    x = y = 0.0
    command = ""
    tokens = re.findall(r"[A-Za-z]|-?(?:\d+\.?\d*|\.\d+)", data)
    while tokens:
        if tokens[0].isalpha():
            command = tokens.pop(0)
            if command == "z":
                x, y = parts[-1][0]
                continue
        a, b = float(tokens.pop(0)), float(tokens.pop(0))
        x, y = (x + a, y + b) if command.islower() else (a, b)
        if command in "Mm":
            parts.append([])
            command = "l" if command == "m" else "L"
        elif not parts[-1]:
            raise AssertionError(data)
        parts[-1].append((x, y))
    return parts


coordinates = st.integers(-(10**9), 10**9).map(lambda millionths: millionths / 1e6)
lines = st.lists(st.lists(st.tuples(coordinates, coordinates), min_size=2, max_size=8), min_size=1, max_size=3)


@given(lines, st.booleans())
def test_a_line_goes_through_the_same_places(given_lines: Places, closed: bool):
    texts = [" \nL ".join(f"{x:.6f} {y:.6f}" for x, y in line) + (" \nz" if closed else "") for line in given_lines]
    path = "M " + " \nM ".join(texts)
    assert drawn(wrap(path)) == [[pytest.approx(place, abs=1e-5) for place in line] for line in given_lines]
    # a hundredth of a point is the unit; a long line is no further off than a short one
    found = drawn(shrink_svg(wrap(path)))
    assert found == [[pytest.approx(place, abs=0.00501) for place in line] for line in given_lines]


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("M 10 20 \nL 10.5 20 \nL 10.5 19.25 \n", "m10 20 .5 0 0-.75"),
        ("M 0 1 \nL 2 1 \nL 2 3 \nz\n", "m0 1 2 0 0 2z"),
        ("M 1228 531 \nQ 828 903 1448.126 -1529 \nz\n", "M1228 531Q828 903 1448.13-1529z"),
    ],
)
def test_paths_are_written_in_few_bytes(path: str, short: str):
    assert f' d="{short}"' in shrink_svg(wrap(path))


def test_marks_of_one_look_say_it_once():
    use = '<use xlink:href="#m" x="{}.123456" y="2.5" style="fill: #ff0000; stroke: #000000"/>'
    short = shrink_svg(f'<g clip-path="url(#p)">\n {use.format(1)}\n {use.format(2)}\n</g>')
    assert short == (
        '<g clip-path="url(#p)" style="fill:#ff0000;stroke:#000000">'
        '<use xlink:href="#m" x="1.12" y="2.5"/><use xlink:href="#m" x="2.12" y="2.5"/></g>'
    )
    other = use.format(2).replace("#ff0000", "#00ff00")
    assert shrink_svg(f"<g>{use.format(1)}{other}</g>").count("style=") == 2
    see_through = use.replace("fill: #ff0000", "opacity: 0.5")
    assert shrink_svg(f"<g>{see_through.format(1)}{see_through.format(2)}</g>").count("style=") == 2


def test_a_figure_is_much_smaller_well_formed_and_has_a_title():
    with figure_style(PAGES["page"]):
        figure = start_figure(Sheet(title="Norm < 1 & of <b>runs</b>"), 2)
        axes = figure.subplots()
        for run in range(20):
            axes.plot(range(200), [(run + 1) * 0.99**n for n in range(200)])
    svg = figure_bytes(figure, "svg", PAGES["page"])
    root = ElementTree.fromstring(svg.decode())  # our own
    assert root.findtext("{http://www.w3.org/2000/svg}title") == "Norm < 1 & of <b>runs</b>"
    # 4000 places take about eight bytes each; matplotlib alone writes more than 100 kB
    assert len(svg) < 60_000


def test_a_clip_is_named_after_what_is_written_of_it() -> None:
    def figure(name: str, width: str) -> str:
        rectangle = f'<rect x="1.0" y="2.0" width="{width}" height="3.0"/>'
        used = f'<path d="M 0 0 L 1 1" clip-path="url(#{name})"/>'
        return f'<svg>{used}<defs><clipPath id="{name}">\n {rectangle}\n</clipPath></defs></svg>'

    one, other = figure("p0123456789", "5.0"), figure("pabcdefabcd", "5.0")
    assert shrink_svg(one) == shrink_svg(other) != shrink_svg(figure("p0123456789", "6.0"))
    (defined,) = re.findall('clipPath id="([^"]*)"', shrink_svg(one))
    assert f"url(#{defined})" in shrink_svg(one)
