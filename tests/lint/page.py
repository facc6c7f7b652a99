"""`docs/lint.md`: its table of rules, made from their classes. `python -m tests.lint.page` writes it."""

from __future__ import annotations

from pathlib import Path

from durable.lint import RULES, Where

PAGE = Path(__file__).parents[2] / "docs" / "lint.md"

BEGIN = "<!-- made from the rules: python -m tests.lint.page -->\n"
END = "<!-- end -->\n"


def table() -> str:
    """What stands between the marks."""
    lines: list[str] = []
    for where in Where:
        lines += ["", f"In {where.value}:", "", "| | | |", "|---|---|---|"]
        lines += [
            f"| {rule.code} | {rule.name} | {rule.summary()} |" for rule in RULES if rule.where is where
        ]
    return "\n".join([*lines, "", ""])


def page(text: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
