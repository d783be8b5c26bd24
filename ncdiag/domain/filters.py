"""The language of `--where`: a small filter over the columns of a run, read by hand and never passed to SQL.

    expression = term, { "or", term } ;
    term       = factor, { "and", factor } ;
    factor     = { "not" }, ( "(", expression, ")" | comparison ) ;
    comparison = column, ( ( "=" | "!=" | "<" | "<=" | ">" | ">=" ), value
                         | [ "not" ], "in", "(", value, { ",", value }, ")" ) ;

A value is a number, a bare word or a quoted text; numbers compare as numbers, so 1e-05 = 0.00001. A value that a run
does not have (an import that did not say) equals only the bare word `none`, and is neither smaller nor larger than
anything. A setting of the user's own is a column too, `other.label_smoothing`, and holds what was said: numbers or
texts.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ncdiag.domain.words import nearest
from ncdiag.errors import AnalysisError

Row = Mapping[str, object]
Predicate = Callable[[Row], bool]

NUMBERS = (
    "depth",
    "width",
    "train_size",
    "lr",
    "momentum",
    "weight_decay",
    "batch_size",
    "seed",
    "epochs_done",
    "epochs_planned",
    "seconds",
)
TEXTS = (
    "run",
    "status",
    "arch",
    "activation",
    "dataset",
    "optimizer",
    "schedule",
    "phases",
    "intervention",
    "other",
    "device",
    "started_at",
    "origin",
)
COLUMNS = (*NUMBERS, *TEXTS)
ALIASES = {"name": "run", "wd": "weight_decay"}
OWN = "other."  # before the name of a setting of the user's own

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quoted>"[^"]*"|'[^']*')
      | (?P<operator><=|>=|!=|==|=|<|>)
      | (?P<mark>[(),])
      | (?P<word>[^\s()<>=!,'"]+)
    )""",
    re.VERBOSE,
)
_MISSING = "none"
_WORD = 40
_WIDEST = 300  # characters of a filter that a message repeats; more do not help
_DEEPEST = 50  # parentheses within parentheses; Python's own stack ends at about a thousand


@dataclass(frozen=True, kw_only=True)
class _Token:
    kind: str  # quoted, operator, mark, word or end
    text: str
    at: int


def named_columns(text: str) -> set[str]:
    """Give the columns that a filter, which `parse_where` has accepted, may ask about; a quoted text is a value."""
    words = {_column_name(match["word"]) for match in _TOKEN.finditer(text) if match["word"]}
    return {word for word in words if word in COLUMNS or word.startswith(OWN)}


def parse_where(text: str) -> Predicate:
    """Give the test that a filter such as `dataset=mnist and depth in (5,7)` describes; an empty one lets all pass.

    The test takes a mapping from `COLUMNS` to values (None or NaN where a run has none). A mistake raises an
    `AnalysisError` that points at it.
    """
    if not text.strip():
        return lambda row: True
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._read_tokens()
        self.place = 0
        self.depth = 0

    def parse(self) -> Predicate:
        test = self._either()
        if self._next.kind != "end":
            raise self._expected("'and', 'or' or the end", self._next)
        return test

    @property
    def _next(self) -> _Token:
        return self.tokens[self.place]

    def _read_tokens(self) -> list[_Token]:
        tokens, at = [], 0
        end = len(self.text.rstrip())
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                at += len(self.text[at:]) - len(self.text[at:].lstrip())
                unclosed = self.text[at] in "'\""
                raise self._mistake("this quote is not closed" if unclosed else "expected !=", at)
            kind = str(match.lastgroup)
            tokens.append(_Token(kind=kind, text=match[kind], at=match.start(kind)))
            at = match.end()
        return [*tokens, _Token(kind="end", text="", at=end)]

    def _take(self) -> _Token:
        token = self._next
        self.place += token.kind != "end"
        return token

    def _take_word(self, word: str) -> bool:
        """Take the next token if it is this keyword."""
        found = self._next.kind == "word" and self._next.text.lower() == word
        self.place += found
        return found

    def _take_mark(self, mark: str) -> None:
        if self._next.kind != "mark" or self._next.text != mark:
            raise self._expected(repr(mark), self._next)
        self.place += 1

    def _either(self) -> Predicate:
        tests = [self._both()]
        while self._take_word("or"):
            tests.append(self._both())
        return lambda row: any(test(row) for test in tests)

    def _both(self) -> Predicate:
        tests = [self._factor()]
        while self._take_word("and"):
            tests.append(self._factor())
        return lambda row: all(test(row) for test in tests)

    def _factor(self) -> Predicate:
        negated = False
        while self._take_word("not"):
            negated = not negated
        test = self._bracket() if self._next.text == "(" and self._next.kind == "mark" else self._comparison()
        return (lambda row: not test(row)) if negated else test

    def _bracket(self) -> Predicate:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self._mistake(f"more than {_DEEPEST} parentheses within each other", self._next.at)
        self._take_mark("(")
        test = self._either()
        self._take_mark(")")
        self.depth -= 1
        return test

    def _comparison(self) -> Predicate:
        column = self._column()
        token = self._take()
        if token.kind == "operator":
            return _compare(column, token.text, self._value(column, ordered=token.text[0] in "<>"))
        negated = token.kind == "word" and token.text.lower() == "not"
        if negated:
            token = self._take()
        if token.kind != "word" or token.text.lower() != "in":
            raise self._expected(f"=, !=, <, <=, >, >= or in after {column}", token)
        return self._membership(column, negated)

    def _membership(self, column: str, negated: bool) -> Predicate:
        self._take_mark("(")
        values = [self._value(column)]
        while self._next.text == "," and self._next.kind == "mark":
            self.place += 1
            values.append(self._value(column))
        self._take_mark(")")
        tests = [_compare(column, "=", value) for value in values]
        return lambda row: any(test(row) for test in tests) is not negated

    def _column(self) -> str:
        token = self._take()
        if token.kind != "word" or token.text.lower() in ("and", "or", "in"):
            raise self._expected("a column, such as depth", token)
        name = _column_name(token.text)
        if name not in COLUMNS and not name.startswith(OWN):
            near = nearest(name, COLUMNS)
            raise self._mistake(
                f"no column {token.text[:_WORD]!r}{near}; there are {', '.join(COLUMNS)}, and {OWN}NAME for a setting "
                "of your own",
                token.at,
            )
        return name

    def _value(self, column: str, *, ordered: bool = False) -> float | str | None:
        token = self._take()
        if token.kind not in ("word", "quoted"):
            raise self._expected("a value", token)
        if token.kind == "word" and token.text.lower() == _MISSING:
            if ordered:
                raise self._mistake(f"nothing is smaller or larger than {_MISSING}; use = or !=", token.at)
            return None
        text = token.text[1:-1] if token.kind == "quoted" else token.text
        number = _number(text)
        if column in TEXTS or (column not in NUMBERS and (number is None or token.kind == "quoted")):
            return text.lower() if column.startswith(OWN) and text.lower() in ("true", "false") else text
        if number is None:
            raise self._mistake(f"{column} is a number, not {text[:_WORD]!r}", token.at)
        return number

    def _expected(self, what: str, token: _Token) -> AnalysisError:
        found = "the end" if token.kind == "end" else repr(token.text[:_WORD])
        return self._mistake(f"expected {what}, found {found}", token.at)

    def _mistake(self, what: str, at: int) -> AnalysisError:
        line = "".join(c if c.isprintable() else " " for c in self.text)
        if len(line) > _WIDEST:  # the part of it that matters
            first = max(0, min(at - _WIDEST // 2, len(line) - _WIDEST))
            line, at = line[first : first + _WIDEST], at - first
        return AnalysisError(f"--where: {what}\n  {line}\n  {' ' * at}^")


def _column_name(word: str) -> str:
    if word.lower().startswith(OWN):
        return OWN + word[len(OWN) :]  # as it was said
    name = word.lower().replace("-", "_")
    return ALIASES.get(name, name)


def _compare(column: str, symbol: str, value: float | str | None) -> Predicate:
    """Give the test of one column against one value."""
    compare, read = _COMPARE[symbol], _reader(column, value)
    if symbol in ("=", "==", "!="):
        return lambda row: compare(read(row), value)

    def test(row: Row) -> bool:
        cell = read(row)
        return cell is not None and compare(cell, value)

    return test


def _reader(column: str, value: float | str | None) -> Callable[[Row], float | str | None]:
    """Give what reads a column as the number or the text that it holds; of the user's own settings, as the value is."""
    as_number = isinstance(value, float) if column.startswith(OWN) else column in NUMBERS

    def read(row: Row) -> float | str | None:
        cell = row.get(column)
        if cell is None or cell != cell:  # noqa: PLR0124  # NaN and NaT differ from themselves
            return None
        text = str(cell).lower() if isinstance(cell, bool) else str(cell)
        return _number(text) if as_number else text

    return read


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
