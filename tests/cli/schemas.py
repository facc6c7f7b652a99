"""What docs/cli.schema.json uses of JSON Schema, and no more: a keyword that is not known here is an error."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DOCUMENT = "docs/cli.schema.json"
SCHEMA = json.loads((Path(__file__).parents[2] / DOCUMENT).read_text("utf-8"))

KINDS: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "number": int | float,
    "null": type(None),
}


def check(value: Any, name: str) -> None:
    """Fail unless a value is as the definition of this name says."""
    problems = [*_problems(value, SCHEMA["$defs"][name], "$")]
    assert not problems, problems


def check_output(arguments: Sequence[str], out: str) -> None:
    """Fail unless what a command has written is as its definition says: one document, or with `--jsonl` one in each line."""
    form = "--jsonl" if "--jsonl" in arguments else "--json"
    if form not in arguments or not out:
        return
    words = [one for one in arguments if not one.startswith("-")]
    name = next((one for one in (" ".join(words[:2]), words[0]) if one in SCHEMA["$defs"]), None)
    if words[:2] == ["workflow", "export"]:
        return  # a history, as files have it
    assert name is not None, f"{DOCUMENT} says nothing of `durable {' '.join(words[:2])} --json`"
    if form == "--json":
        check(json.loads(out), name)
        return
    one = SCHEMA["$defs"][name]
    properties = one.get("properties", {})
    # What a document lists stands in lines of its own; only `show` tells more than its list.
    listed = ["events"] if name == "workflow show" else [*properties]
    if len(listed) == 1:
        one = properties[listed[0]].get("items", one)
    problems = [problem for line in out.splitlines() for problem in _problems(json.loads(line), one, "$")]
    assert not problems, problems


def _problems(value: Any, schema: dict[str, Any], where: str) -> Any:
    for keyword, rule in schema.items():
        match keyword:
            case "description" | "additionalProperties" | "propertyNames":
                pass
            case "$ref":
                yield from _problems(value, SCHEMA["$defs"][rule.removeprefix("#/$defs/")], where)
            case "allOf":
                for one in rule:
                    yield from _problems(value, one, where)
            case "anyOf":
                if all([*_problems(value, one, where)] for one in rule):
                    yield f"{where}: {value!r} is none of {rule}"
            case "type":
                if not any(_is(value, one) for one in ([rule] if isinstance(rule, str) else rule)):
                    yield f"{where}: {value!r} is no {rule}"
            case "const" | "enum":
                if value not in ([rule] if keyword == "const" else rule):
                    yield f"{where}: {value!r} is not {rule}"
            case "pattern":
                if not (isinstance(value, str) and re.search(rule, value)):
                    yield f"{where}: {value!r} is not like {rule}"
            case "required":
                yield from (f"{where} has no {one}" for one in rule if one not in value)
            case "properties":
                for one, inner in rule.items():
                    if one in value:
                        yield from _problems(value[one], inner, f"{where}.{one}")
            case "items":
                for index, one in enumerate(value):
                    yield from _problems(one, rule, f"{where}[{index}]")
            case _:
                raise NotImplementedError(keyword)
    known = schema.get("properties", {}) if schema.get("additionalProperties") is False else None
    known = schema.get("propertyNames", {}).get("enum", known)
    if known is not None:
        yield from (f"{where} has {one}, which is not described" for one in value if one not in known)


def _is(value: Any, kind: str) -> bool:
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number" and isinstance(value, bool):
        return False
    return isinstance(value, KINDS[kind])
