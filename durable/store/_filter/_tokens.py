"""A list filter's text, cut into tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from durable.store._filter._fault import FilterError, shown

MAX_TEXT = 65_536
"""Characters of a filter: a thousand workflow ids fit, and reading it takes some 10 ms at most."""

MAX_DIGITS = 400
"""Characters of a number: more than any double needs; the time to convert an `int` grows with their square."""


class Kind(Enum):
    """What a token is, as it is called in messages."""

    WORD = "a name"
    QUOTED_NAME = "a quoted name"
    STRING = "a text"
    NUMBER = "a number"
    SYMBOL = "a symbol"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Token:
    """A token. `text` is what it means: without quotes, escapes resolved."""

    kind: Kind
    text: str
    column: int

    @property
    def shown(self) -> str:
        return "the end" if self.kind is Kind.END else shown(self.text)


_TOKEN = re.compile(
    r"""
    (?P<space>   [ \t\r\n]+ )
  | (?P<number>  [+-]? (?: [0-9]+ (?: \.[0-9]* )? | \.[0-9]+ ) (?: [eE][+-]?[0-9]+ )? (?! [\w.:+-] ) )
  | (?P<word>    [^\W\d]\w* )
  | (?P<quote>   ['"`] )
  | (?P<symbol>  != | <> | <= | >= | [=<>(),] )
    """,
    re.VERBOSE,
)

_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t", "b": "\b"}

_HINTS = {
    "==": "write = for equality",
    "&&": "write AND",
    "||": "write OR",
    "--": "a filter has no comments",
    "/*": "a filter has no comments",
    ";": "a filter is one condition, without a semicolon",
    "!": "write NOT, or !=",
    "*": "there are no wildcards; write STARTS_WITH 'beginning'",
    "%": "there are no wildcards; write STARTS_WITH 'beginning'",
}


def tokens(text: str) -> Iterator[Token]:
    """The tokens of `text`, the last of kind END.

    Raises:
        FilterError: At the first character that begins no token; no token before it is lost.
    """
    if len(text) > MAX_TEXT:
        raise FilterError(
            MAX_TEXT + 1, f"a filter has at most {MAX_TEXT} characters, not {len(text)}; ask in several parts"
        )
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise FilterError(at + 1, _unexpected(text, at))
        column, end = at + 1, found.end()
        match found.lastgroup:
            case "number":
                if len(found[0]) > MAX_DIGITS:
                    raise FilterError(column, f"a number has at most {MAX_DIGITS} digits")
                yield Token(Kind.NUMBER, found[0], column)
            case "word":
                yield Token(Kind.WORD, found[0], column)
            case "symbol":
                if text.startswith("==", at):
                    raise FilterError(column, _unexpected(text, at))
                yield Token(Kind.SYMBOL, "!=" if found[0] == "<>" else found[0], column)
            case "quote":
                content, end = _quoted(text, at)
                yield Token(Kind.QUOTED_NAME if found[0] == "`" else Kind.STRING, content, column)
            case _:
                pass
        at = end
    yield Token(Kind.END, "", len(text) + 1)


_STOPS = {"'": re.compile(r"['\\\0]"), '"': re.compile(r'["\\\0]'), "`": re.compile(r"[`\0]")}
"""What ends a run of plain characters within these quotes. A name in backquotes has no escapes."""


def _quoted(text: str, start: int) -> tuple[str, int]:
    """What the quotes that open at `start` hold, and where it goes on behind them."""
    quote = text[start]
    pieces: list[str] = []
    at = start + 1
    while True:
        stop = _STOPS[quote].search(text, at)
        if stop is None:
            raise FilterError(start + 1, f"this {quote} is never closed; add a {quote} behind the text")
        end = stop.start()
        pieces.append(text[at:end])
        if stop[0] == "\0":
            raise FilterError(end + 1, "a text cannot have a NUL character")
        if stop[0] == "\\":
            escaped = text[end + 1 : end + 2]
            if escaped not in _ESCAPES:
                raise FilterError(
                    end + 1, f"there is no escape {shown(text[end : end + 2])}; for one \\ write \\\\"
                )
            pieces.append(_ESCAPES[escaped])
        elif text.startswith(quote, end + 1):
            pieces.append(quote)  # doubled
        else:
            break
        at = end + 2
    content = "".join(pieces)
    if any("\ud800" <= character <= "\udfff" for character in content):
        raise FilterError(start + 1, "this text has half of a surrogate pair, which is no text")
    return content, end + 1


def _unexpected(text: str, at: int) -> str:
    for symbol, hint in _HINTS.items():
        if text.startswith(symbol, at):
            return f"{shown(symbol)} means nothing here; {hint}"
    if text[at].isdigit() or text[at] in "+-.":
        piece = re.match(r"[\w.:+-]*", text[at:])
        return f"{shown(piece[0] if piece else text[at])} is no number; put texts and times into quotes"
    return f"{shown(text[at])} means nothing here; names of other characters go into backquotes"
