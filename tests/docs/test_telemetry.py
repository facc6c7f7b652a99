"""`docs/telemetry.md`: its tables are the code's, and what it shows runs.

`python -m tests.docs.test_telemetry` writes the tables anew.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from durable.telemetry import LOG_FIELDS, METRICS, Metric

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"


def metrics_table() -> str:
    lines = [
        "| Metric | Prometheus | Kind, unit | Attributes | What it says |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{one.name}` | `{one.prometheus}` | {one.kind.value}, {one.unit} | {_codes(one)} | {one.text} |"
        for one in METRICS
    ]
    return "\n".join(lines)


def _codes(one: Metric) -> str:
    return ", ".join(f"`{name}`" for name in one.attributes)


def fields_table() -> str:
    rows = [f"| `{name}` | {text} |" for name, text in LOG_FIELDS.items()]
    return "\n".join(["| Field | What it says |", "|---|---|", *rows])


def written(text: str) -> str:
    """The page with the tables as the code has them."""
    for name, table in (("metrics", metrics_table()), ("fields", fields_table())):
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda m, t=table: f"{m[1]}{t}\n{m[2]}",
            text,
            flags=re.DOTALL,
        )
    return text


def test_the_tables_are_those_of_the_code() -> None:
    text = PAGE.read_text("utf-8")
    assert written(text) == text, "run: python -m tests.docs.test_telemetry"


def test_every_span_and_attribute_is_in_the_table() -> None:
    """What the code calls spans and attributes: both are texts in these two modules."""
    text = PAGE.read_text("utf-8")
    package = PAGE.parents[1] / "durable" / "telemetry"
    source = "".join((package / name).read_text("utf-8") for name in ("_spans.py", "_client_spans.py"))
    table = text.partition("<!-- spans -->")[2].partition("<!-- end -->")[0]
    named = set(re.findall(r"`([A-Za-z]+)(?::<|`)", table))
    made = set(re.findall(r'f"([A-Z][A-Za-z]+):\{', source)) | set(
        re.findall(r'"([A-Z][a-z]+[A-Z][a-z]+\w*)"', source)
    )
    assert made - {"TracedWorkflow"} == named - {"Timer"}
    assert '"Timer"' in source
    assert set(re.findall(r'"(durable\.[a-z_.]+)"', source)) == set(
        re.findall(r"`(durable\.[a-z_.]+)`", text.partition("## Metrics")[0])
    ) - {"durable.telemetry"} | {"durable.namespace"}


def test_what_it_shows_runs() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    program = "\n".join([*blocks, 'logging.getLogger("shop").info("two\\nlines\\x7f")', 'print("done")'])
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout.strip()) == (0, "done"), ran.stderr
    assert '"message": "two\\nlines\\u007f"' in ran.stderr


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
