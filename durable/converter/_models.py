"""pydantic models, of its second version and of its first: used when the program uses them, never imported."""

from __future__ import annotations

import sys
from typing import Any


class InvalidModelError(ValueError):
    """What pydantic found wrong, without the input it found it in."""

    def __init__(self, where: str, text: str) -> None:
        super().__init__(f"{text} (at {where})" if where else text)
        self.where = where
        self.text = text


def is_model(kind: type[Any]) -> bool:
    """Whether `kind` is a pydantic model class. The program may have imported pydantic; this library never does."""
    for name in ("pydantic", "pydantic.v1"):
        base = getattr(sys.modules.get(name), "BaseModel", None)
        if base is not None and issubclass(kind, base):
            return True
    return False


def model_parts(value: Any) -> dict[str, Any]:
    """Return the fields of a model, and what it holds beside them."""
    return {**value.__dict__, **(getattr(value, "__pydantic_extra__", None) or {})}


def model_fields(kind: Any) -> list[tuple[str, bool]]:
    """Return the fields of a model class, as they are written, and whether each must be there."""
    if not hasattr(kind, "model_fields"):
        return [(field.alias, bool(field.required)) for field in kind.__fields__.values()]
    infos: dict[str, Any] = kind.model_fields
    return [(info.alias or name, info.is_required()) for name, info in infos.items()]


def write_model(value: Any) -> bytes:
    """Return a model as pydantic writes it, as JSON, or nearly: bare `NaN` may stand in it."""
    if hasattr(value, "model_dump_json"):
        text: str = value.model_dump_json(by_alias=True, round_trip=True)
    else:
        text = value.json(by_alias=True)
    return text.encode()


def read_model(kind: Any, data: bytes) -> Any:
    """Return a model, validated.

    Raises:
        InvalidModelError: pydantic does not take it.
    """
    newer = hasattr(kind, "model_validate_json")
    try:
        return kind.model_validate_json(data) if newer else kind.parse_raw(data)
    except ValueError as error:
        errors: Any = getattr(error, "errors", None)
        if errors is None:
            raise
        first: Any = (errors(include_url=False, include_input=False) if newer else errors())[0]
        found = [step for step in first["loc"] if step != "__root__"]
        steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in found]
        raise InvalidModelError("".join(steps), first["msg"]) from None
