"""What a user's function takes and returns: bound at the call, read as types when values have to be decoded.

Type hints are read late, when a worker starts or a value is decoded, so that they may name what is defined further
down in the module. They are read once, and a hint that cannot be read is an error that names it: values are never
decoded by guessing.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import typing
from collections.abc import Callable, Mapping
from types import FrameType, FunctionType
from typing import Any

from durable.activity._deferred import shorten
from durable.exceptions import RegistrationError

__all__ = ["Parameters", "local_names", "where_is"]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_CO_OPTIMIZED = 1  # set on functions, not on class bodies and modules


def where_is(fn: Callable[..., Any] | type[Any]) -> str:
    """Return where a function or class was defined, as `path/file.py:12`; the module's name if there is no source."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    if code is not None:
        return f"{shorten(os.path.abspath(code.co_filename))}:{code.co_firstlineno}"
    return fn.__module__


def local_names(fn: Callable[..., Any] | type[Any], frame: FrameType | None) -> dict[str, Any]:
    """Return what the hints of a function defined inside another function may name besides its module's globals.

    Module-level functions need nothing: their globals are looked up when the hints are read. For local ones only
    the names that the hints mention are kept, so that nothing else stays alive.
    """
    if "<locals>" not in getattr(fn, "__qualname__", ""):
        return {}
    wanted = set[str]()
    for annotation in _raw_annotations(fn).values():
        if isinstance(annotation, str):
            wanted.update(_IDENTIFIER.findall(annotation))
    found: dict[str, Any] = {}
    while frame is not None and wanted and frame.f_code.co_name != "<module>":
        names = frame.f_locals
        for name in wanted:
            if name in names:
                found.setdefault(name, names[name])
        if frame.f_code.co_flags & _CO_OPTIMIZED:
            break
        frame = frame.f_back
    return found


def _raw_annotations(fn: Any) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib  # noqa: PLC0415  # new in 3.14

        return annotationlib.get_annotations(fn, format=annotationlib.Format.FORWARDREF)
    return getattr(fn, "__annotations__", None) or {}


def _without_arguments(fn: Callable[..., Any], parameter: str) -> Callable[..., Any]:
    """Return a function with the same hints, but `asyncpg.Connection` for `"asyncpg.Connection[Record]"`.

    Drivers' classes are generic to type checkers and not always at run time.
    """
    annotations = dict(_raw_annotations(fn))
    if isinstance(hint := annotations.get(parameter), str):
        annotations[parameter] = hint.partition("[")[0]
    code = (lambda: None).__code__
    shown = FunctionType(code, getattr(inspect.unwrap(fn), "__globals__", {}))
    shown.__annotations__ = annotations
    return shown


class Parameters:
    """The positional parameters of one function, and its types.

    Args:
        fn: The function as it was written.
        what: What it is to people, for example `activity 'charge'`; it opens every error.
        where: Where it is defined.
        method: Whether the first parameter is the instance, which callers do not pass.
        local: Further names that its hints may use.
        transactional: Whether the next one is a transaction, which callers do not pass either.

    Attributes:
        names: The names of the parameters, without the instance and the transaction.
        required: How many of them have no default.
        signature: What callers see.

    Raises:
        RegistrationError: It takes keyword-only or variable arguments, which a history has no place for.
    """

    __slots__ = (
        "_fn",
        "_hints",
        "_returns",
        "_transaction",
        "_types",
        "local",
        "method",
        "names",
        "required",
        "signature",
        "what",
        "where",
    )

    def __init__(
        self,
        fn: Callable[..., Any],
        what: str,
        where: str,
        *,
        method: bool = False,
        local: dict[str, Any] | None = None,
        transactional: bool = False,
    ) -> None:
        self._fn = fn
        self.local: dict[str, Any] = {} if local is None else local
        self._hints: dict[str, Any] | None = None
        self._types: tuple[Any, ...] | None = None
        self._returns: Any = None
        self.what: str = what
        self.where: str = where
        self.method: bool = method
        try:
            signature = inspect.signature(fn)
        except (TypeError, ValueError) as error:
            raise RegistrationError(f"{what} ({where}): its parameters cannot be read: {error}") from error
        parameters = list(signature.parameters.values())
        if method:
            if not parameters or parameters[0].kind not in _POSITIONAL:
                raise RegistrationError(
                    f"{what} ({where}) is a method and needs `self` as its first parameter"
                )
            parameters = parameters[1:]
        self._transaction: str | None = None
        if transactional:
            if not parameters or parameters[0].kind not in _POSITIONAL:
                raise RegistrationError(
                    f"{what} ({where}) is transactional and needs a first parameter for its transaction, for example "
                    "`tx: asyncpg.Connection`"
                )
            self._transaction = parameters[0].name
            parameters = parameters[1:]
        for parameter in parameters:
            if parameter.kind not in _POSITIONAL:
                raise RegistrationError(
                    f"{what} ({where}): parameter {parameter.name!r} is "
                    f"{'keyword-only' if parameter.kind is parameter.KEYWORD_ONLY else 'variable'}, and arguments "
                    "are stored by position; make it an ordinary parameter (a list or a dataclass takes many values)"
                )
        self.signature: inspect.Signature = signature.replace(parameters=parameters)
        self.names: tuple[str, ...] = tuple(p.name for p in parameters)
        self.required: int = sum(p.default is p.empty for p in parameters)

    @classmethod
    def of_value(cls, kind: Any, what: str, where: str) -> Parameters:
        """Return the parameters of something that takes one value of a type, or none when the type is None."""

        def takes(value: Any, /) -> None: ...

        def takes_nothing() -> None: ...

        made = cls(takes_nothing if kind is None else takes, what, where)
        made._hints = {"value": kind}
        named = made.signature.parameters.values()
        made.signature = inspect.Signature([parameter.replace(annotation=kind) for parameter in named])
        return made

    def __repr__(self) -> str:
        return f"<parameters of {self.what}: {self.signature}>"

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the arguments by position; defaults behind the last one given are left to the function.

        Raises:
            TypeError: The function could not be called like this.
        """
        if not kwargs and self.required <= len(args) <= len(self.names):
            return args
        try:
            given = self.signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(
                f"{self.what}: {error}. It is defined as {self.signature} at {self.where}"
            ) from None
        last = max((index for index, name in enumerate(self.names) if name in given), default=-1)
        parameters = self.signature.parameters
        return tuple(given.get(name, parameters[name].default) for name in self.names[: last + 1])

    @property
    def types(self) -> tuple[Any, ...]:
        """The type of each parameter, `Any` where none is written.

        Raises:
            RegistrationError: A hint names something that cannot be found.
        """
        if self._types is None:
            hints = self._read()
            self._types = tuple(hints.get(name, Any) for name in self.names)
        return self._types

    @property
    def transaction(self) -> Any:
        """The type of the transaction that the function is given first, `Any` where none is written; None without one.

        Raises:
            RegistrationError: A hint names something that cannot be found.
        """
        return None if self._transaction is None else self._read().get(self._transaction, Any)

    @property
    def returns(self) -> Any:
        """The type of the result, `Any` where none is written.

        Raises:
            RegistrationError: A hint names something that cannot be found.
        """
        if self._returns is None:
            # A hint of None is read as NoneType.
            self._returns = self._read().get("return", Any)
        return self._returns

    def _read(self) -> dict[str, Any]:
        if self._hints is None:
            try:
                self._hints = typing.get_type_hints(
                    self._fn
                    if self._transaction is None
                    else _without_arguments(self._fn, self._transaction),
                    localns=dict(self.local) or None,
                    include_extras=True,
                )
            except NameError as error:
                raise RegistrationError(
                    f"{self.what} ({self.where}): its type hints cannot be read, since {error}. Values are decoded by "
                    f"them, so import or define {error.name!r} where it exists at run time: at module level, and not "
                    "under `if TYPE_CHECKING`"
                ) from error
            except Exception as error:  # reading a hint runs code of the user's
                raise RegistrationError(
                    f"{self.what} ({self.where}): its type hints cannot be read: {type(error).__name__}: {error}"
                ) from error
        return self._hints
