from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from durable.exceptions import FilterError

__all__ = ["FilterError", "nearest", "shown"]


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
