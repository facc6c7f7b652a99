"""`# durable: ignore[DUR101]`: findings that somebody has looked at."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from durable.lint._code import Module
from durable.lint._rule import Finding

COMMENT = re.compile(r"#\s*durable:\s*ignore(?:\[(?P<codes>[^\]]*)\])?")

UNUSED = "DUR901"


@dataclass
class Suppression:
    """A comment that says which rules may find something in its line."""

    line: int
    column: int
    codes: list[str]
    used: set[str] = field(default_factory=set[str])


def suppressions(module: Module) -> list[Suppression]:
    """The comments of a file."""
    text = "\n".join(module.lines) + "\n"
    if "durable:" not in text:
        return []
    found: list[Suppression] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and (match := COMMENT.search(token.string)):
            codes = [one.strip() for one in (match["codes"] or "").split(",") if one.strip()]
            found.append(Suppression(token.start[0], token.start[1] + match.start() + 1, codes))
    return found


def left(findings: Sequence[Finding], module: Module) -> Iterator[Finding]:
    """Yield the findings in a file that nobody has suppressed, and one for each suppression that is of no use."""
    comments = suppressions(module)
    for finding in findings:
        hit = False
        for comment in comments:
            if finding.line <= comment.line <= finding.end_line and finding.code in comment.codes:
                comment.used.add(finding.code)
                hit = True
        if not hit:
            yield finding
    for comment in comments:
        unused = [code for code in comment.codes if code not in comment.used]
        if not comment.codes:
            message = "a suppression names the rules it is for: # durable: ignore[DUR101]"
        elif unused:
            message = f"nothing is found here by {', '.join(unused)}; remove the suppression"
        else:
            continue
        yield Finding(module.shown, comment.line, comment.column, UNUSED, message, comment.line)
