"""Exceptions in the journal: a registered name, and arguments as stored values.

    encode_error(ValueError("no", 7))     -> ("ValueError", ["no", 7])
    encode_error(OutOfStock("tea"))       -> ("shop:OutOfStock", ["tea"])         # registered
    encode_error(sqlite3.Error("locked")) -> ("StepError", ["Error", "locked"])   # is not

Attributes of a registered class follow its arguments as {"$": "state", "v": {...}}. Tracebacks,
causes and contexts are not kept: they would pin the frames of a dialog that waits for days.
"""

from __future__ import annotations

from typing import Any

from legato import errors
from legato.errors import NotStorable
from legato.model.values import _classes as classes
from legato.model.values import _scalars as scalars
from legato.model.values._read import decode, from_stored
from legato.model.values._write import encode, to_stored

_MAX_ARGUMENT = 100_000
"""Encoded bytes of one argument; a longer one is kept as text."""
_MAX_TEXT = 10_000
"""Characters of a message, or of an argument that is kept as text."""
_STATE = "state"

_LEGATO = (
    errors.DialogError,
    errors.Timeout,
    errors.TooManyAttempts,
    errors.UserGone,
    errors.StepError,
    errors.StepInterrupted,
    errors.Unsupported,
    errors.Cancelled,
)
# Left out: StopIteration and StopAsyncIteration (a coroutine cannot raise them), SyntaxError and
# SystemError (about code, not about data), what ends the process, groups and warnings.
_BUILTIN = (
    Exception,
    ArithmeticError,
    AssertionError,
    AttributeError,
    BlockingIOError,
    BrokenPipeError,
    BufferError,
    ChildProcessError,
    ConnectionAbortedError,
    ConnectionError,
    ConnectionRefusedError,
    ConnectionResetError,
    EOFError,
    FileExistsError,
    FileNotFoundError,
    FloatingPointError,
    ImportError,
    IndexError,
    InterruptedError,
    IsADirectoryError,
    KeyError,
    LookupError,
    MemoryError,
    ModuleNotFoundError,
    NameError,
    NotADirectoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    PermissionError,
    ProcessLookupError,
    RecursionError,
    ReferenceError,
    RuntimeError,
    TimeoutError,
    TypeError,
    UnboundLocalError,
    UnicodeDecodeError,
    UnicodeEncodeError,
    UnicodeError,
    UnicodeTranslateError,
    ValueError,
    ZeroDivisionError,
)
_KNOWN: dict[str, type[BaseException]] = {cls.__name__: cls for cls in _LEGATO + _BUILTIN}


def encode_error(exc: BaseException) -> tuple[str, list[object]]:
    """(name, stored arguments) of `exc`. Never fails.

    What is neither known nor registered becomes a StepError with its class's name and its text; an
    argument that cannot be stored becomes its text. The engine raises `decode_error` of the result
    on the first run as well, so that live equals replay.
    """
    cls = type(exc)
    known = _KNOWN.get(cls.__name__) is cls
    name = cls.__name__ if known else classes.registered_name(cls)
    if name:
        args = [_stored(arg) for arg in _arguments(exc)]
        if not known and vars(exc):
            state = {str(key): _stored(held) for key, held in vars(exc).items()}
            args.append({"$": _STATE, "v": state})
        if _is_rebuilt((name, args), exc):
            return name, args
    return "StepError", [_stored(cls.__name__), _stored(_text(exc))]


def decode_error(pair: tuple[str, list[object]]) -> BaseException:
    """A new exception, without traceback.

    Raises:
        NotStorable: The row is damaged, or the class is not registered any more.
    """
    try:
        name, stored = pair
        known = _KNOWN.get(name)
        cls = known or classes.registered(name)
        if cls is not None and issubclass(cls, BaseException):
            return _make(cls, list(stored), known=known is not None)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, NotStorable):
            raise
        raise NotStorable(f"a stored exception {pair!r:.80} cannot be read: {error}") from error
    raise NotStorable(
        f"the journal holds an exception '{name}', which is not registered. Put "
        f"@register(name='{name}') on its class, and import its module where the App is made"
    )


def _make(cls: Any, stored: list[Any], *, known: bool) -> BaseException:
    if known:
        made: BaseException = cls(*map(from_stored, stored))
        return made
    state: Any = None
    if stored and type(stored[-1]) is dict and stored[-1].get("$") == _STATE:
        state = from_stored(stored.pop().get("v"))
    args = [from_stored(arg) for arg in stored]
    # The class's own __init__ often takes other arguments than it passes on, and is user's code.
    base: Any = classes.native_base(cls)
    made = base.__new__(cls, *args)
    base.__init__(made, *args)
    if state is not None:
        vars(made).update(scalars.part({"v": state}, "v", dict))
    return made


def _arguments(exc: BaseException) -> tuple[object, ...]:
    """What makes it again. An OSError keeps its file names beside `args`."""
    if isinstance(exc, OSError) and len(exc.args) == 2 and exc.filename is not None:
        names = (exc.filename,) if exc.filename2 is None else (exc.filename, None, exc.filename2)
        return (*exc.args, *names)
    return exc.args


def _is_rebuilt(pair: tuple[str, list[object]], exc: BaseException) -> bool:
    """Whether `pair` gives an exception of the same class again that can be stored at all."""
    try:
        return type(decode_error((pair[0], decode(encode(pair[1]))))) is type(exc)  # type: ignore[arg-type]
    except NotStorable:
        return False


def _stored(value: object) -> object:
    try:
        stored = to_stored(value)
        if len(encode(stored)) <= _MAX_ARGUMENT:
            return stored
    except NotStorable:
        pass  # its text tells what it was
    return to_stored(_text(value))


def _text(value: object) -> str:
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 # a __str__ of anybody's; the error itself must survive
        text = f"<{type(value).__name__} whose str() fails>"
    text = str.__str__(text)
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "\u2026"
