from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches


class FilterError(ValueError):
    """A list filter, or a page token, is not one. The text says where, what was expected, and what would be right.

    Attributes:
        column: The place in the filter's text, counted in characters from 1; 0 for a page token.
    """

    def __init__(self, column: int, message: str) -> None:
        super().__init__(f"column {column}: {message}" if column else message)
        self.column = column


def nearest(name: str, known: Collection[str]) -> list[str]:
    """The names that may have been meant by this one, best first: `Status` is in `ExecutionStatus`."""
    folded = {other.casefold(): other for other in sorted(known)}
    asked = name.casefold()
    within = sorted((other for other in folded if len(asked) > 2 and asked in other), key=len)
    close = get_close_matches(asked, folded, n=3, cutoff=0.6)
    return [folded[other] for other in dict.fromkeys((*within, *close))][:3]


def shown(text: str) -> str:
    """A piece of the filter as it is quoted in a message: hostile input is not repeated at length."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
