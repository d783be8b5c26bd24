"""An SVG as matplotlib writes it, in fewer bytes and with the same picture.

Lengths are rounded to a hundredth of a point, a quarter of the smallest dot of a page at 600 dots an inch; lines go on
in steps instead of naming each place anew. Each step is between rounded places, so that rounding does not add up.

matplotlib names a clip after its exact corners, whose last bits may differ from one drawing to the next. Here it is
named after what is written of it, so that the same picture has the same bytes.
"""

import re
from collections.abc import Iterator
from hashlib import sha256

_DIGITS, _UNIT = 2, 100
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_BETWEEN_TAGS = re.compile(r">\s+<")
_TAG = re.compile(r"<[^>]*>")  # a title or a name between tags may read like an attribute
_PATH = re.compile(r'(?<= d=")[^"]*')
_STYLE = re.compile(r'(?<= style=")[^"]*')
_PLACE = re.compile(r'(?<= [xy]=")[^"]*|(?<=translate\()[^)]*')

_CLIP = re.compile(r'<clipPath id="(p[0-9a-f]{10})">(.*?)</clipPath>')
_CLIP_NAME = re.compile(r'(?<=<clipPath id=")p[0-9a-f]{10}|(?<=url\(#)p[0-9a-f]{10}')

# A group of marks that all have the style of the first.
_ALIKE = re.compile(
    r"<g(?P<about>(?: (?!style)[^>]*)?)>"
    r'(?P<marks><use [^>]*? style="(?P<style>[^"]*)"/>(?:<use [^>]*? style="(?P=style)"/>)*)'
    r"</g>"
)


def shrink_svg(text: str) -> str:
    """Give the same picture in fewer bytes."""
    text = _BETWEEN_TAGS.sub("><", _COMMENT.sub("", text))
    text = _TAG.sub(lambda found: _shrink_tag(found[0]), text)
    names = {found[1]: "p" + sha256(found[2].encode()).hexdigest()[:10] for found in _CLIP.finditer(text)}
    text = _TAG.sub(lambda found: _CLIP_NAME.sub(lambda name: names[name[0]], found[0]), text)
    return _ALIKE.sub(_say_style_once, text)


def _shrink_tag(tag: str) -> str:
    tag = _PATH.sub(lambda found: _shorten_path(found[0].split()), tag)
    tag = _PLACE.sub(lambda found: " ".join(_write(_round(part)) for part in found[0].split()), tag)
    return _STYLE.sub(lambda found: found[0].replace(": ", ":").replace("; ", ";"), tag)


def _say_style_once(found: re.Match[str]) -> str:
    """Give marks of one look their look by their group; not their opacity, which a group has as a whole."""
    about, style, marks = found["about"], found["style"], found["marks"]
    if re.search(r"(?<!-)opacity", style) or marks.count("<use") < 2:
        return found[0]
    bare = marks.replace(f' style="{style}"', "")
    return f'<g{about} style="{style}">{bare}</g>'


def _shorten_path(parts: list[str]) -> str:
    if {part for part in parts if part.isalpha()} <= {"M", "L", "z"}:
        return "".join(_steps(parts))
    return _join(part if part.isalpha() else _write(_round(part)) for part in parts)


def _steps(parts: list[str]) -> Iterator[str]:
    """Give lines as steps from each place to the next, in hundredths that were rounded before."""
    start = now = (0, 0)
    before, steps = "", iter(parts)
    for command in steps:
        if command == "z":
            now, before = start, "z"
            yield "z"
            continue
        place = (_round(next(steps)), _round(next(steps)))
        # after a move, steps are lines; a line after a closed path has to say so
        name = "m" if command == "M" else "l" if before == "z" else ""
        start = place if command == "M" else start
        words = (name, _write(place[0] - now[0]), _write(place[1] - now[1]))
        yield _join(words if name else ("", *words[1:]))
        now, before = place, command


def _join(words: Iterator[str] | tuple[str, ...]) -> str:
    """Join letters and numbers with a space only where two numbers would run into each other."""
    return re.sub(r" ?([A-Za-z]) ?| (?=-)", r"\1", " ".join(words))


def _round(number: str) -> int:
    return round(float(number) * _UNIT)


def _write(hundredths: int) -> str:
    whole = f"{hundredths / _UNIT:.{_DIGITS}f}".rstrip("0").rstrip(".")
    return re.sub(r"^(-?)0\.", r"\1.", whole)
