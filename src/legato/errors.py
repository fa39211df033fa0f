"""Every error Legato raises, in one tree. This file imports only the standard library.

LegatoError                    all but the control-flow ones below
├── DialogError                a dialog may see these at its own line
│   ├── Timeout                the person (or the signal) did not come in time
│   ├── TooManyAttempts        `attempts=` answers in a row did not parse
│   ├── UserGone               the user blocked the bot, or the chat is gone
│   ├── StepError              a step or platform call failed with an unregistered exception
│   ├── StepInterrupted        an `at_most_once` step may or may not have run before a crash
│   └── Unsupported            this platform cannot, and no fallback was given
├── DeveloperError             the bot's code is wrong; the message names line and cure
│   ├── ForeignAwait           a dialog awaited something that is not Legato's
│   ├── NotStorable            a value cannot be kept in the journal
│   ├── Nondeterminism         strict mode: the dialog asked the clock, chance or a file
│   └── Misuse                 a call in the wrong place (chat.* in a step, unknown dialog ...)
├── Mismatch                   the code no longer follows the recorded journal
├── ConfigError                settings, files or tokens; printed as one line, exit code 2
│   ├── AppNotFound            no App at the path given
│   ├── MissingExtra           an optional package is not installed; names its pip line
│   └── BadToken               the platform refused our token
├── StoreError                 the store could not do it; nothing committed was lost
│   ├── StoreUnavailable       locked, unreachable: try again
│   ├── StoreFull              no space left
│   ├── StoreTooMuch           more than the store writes at once: trying again does not help
│   ├── StoreCorrupt           the file is damaged or is no store
│   ├── StoreBusy              another process holds this store
│   └── StoreNewer             written by a newer Legato
└── IngressError               an incoming request is refused
    ├── Forged                 signature or secret is wrong: 401
    ├── Malformed              authentic but unreadable: stored as dead, acknowledged
    └── Unavailable            nothing durable was made of it: 503, the platform repeats it

BaseException                  control flow: `except Exception` never swallows these
└── ControlFlow
    ├── Cancelled              /cancel, an operator or a newer dialog ended this one
    ├── Evict                  the coroutine leaves memory; the conversation goes on
    ├── Left                   `goto` left this epoch; unwinds the old function
    └── ScopeTimeout           travels from a wait to its `async with chat.timeout(...)`
"""

from __future__ import annotations


class LegatoError(Exception):
    """Base of all errors of Legato that are not control flow."""


# -- what a dialog may see ---------------------------------------------------------------------


class DialogError(LegatoError):
    """A condition of the conversation that a dialog may catch at its own line."""


class Timeout(DialogError, TimeoutError):
    """Nobody answered (or the signal did not come) before the deadline."""


class TooManyAttempts(DialogError):
    """The last allowed answer did not parse either."""

    def __init__(self, attempts: int = 0) -> None:
        self.attempts = attempts
        super().__init__(attempts)

    def __str__(self) -> str:
        return f"no valid answer in {self.attempts} attempts"


class UserGone(DialogError):
    """The platform says that this user or chat cannot be reached any more."""


class StepError(DialogError):
    """A step (or a call of the platform's API) failed.

    Attributes:
        type_name: Name of the exception's class as it was raised.
        text: Its message.
    """

    def __init__(self, type_name: str = "", text: str = "") -> None:
        self.type_name = type_name
        self.text = text
        super().__init__(type_name, text)

    def __str__(self) -> str:
        return f"{self.type_name}: {self.text}" if self.text else self.type_name


class StepInterrupted(DialogError):
    """The process died while an `at_most_once` step ran: it may or may not have had its effect."""


class Unsupported(DialogError):
    """This platform cannot do that, and no fallback was given."""


# -- what the developer must mend --------------------------------------------------------------


class DeveloperError(LegatoError):
    """The bot's own code is at fault."""


class ForeignAwait(DeveloperError):
    """A dialog awaited something other than chat.* or its own coroutines."""


class NotStorable(DeveloperError, TypeError):
    """A value is neither JSON nor one of the tagged types, so the journal cannot keep it."""


class Nondeterminism(DeveloperError):
    """Strict mode saw a call whose result differs from replay to replay."""


class Misuse(DeveloperError):
    """An API was called where or how it cannot work."""


class Mismatch(LegatoError):
    """The code under a running conversation changed: an operation differs from its record.

    Attributes:
        path: Position in the tree of calls and branches, for instance "3" or "2.0.1".
        recorded: "kind name" as the journal has it.
        actual: "kind name" as the code now does it, or "end of the dialog".
        where: file:line in the dialog's code, if known.
    """

    def __init__(self, path: str, recorded: str, actual: str, where: str = "") -> None:
        self.path = path
        self.recorded = recorded
        self.actual = actual
        self.where = where
        super().__init__(path, recorded, actual, where)

    def __str__(self) -> str:
        at = f" at {self.where}" if self.where else ""
        return (
            f"operation {self.path}: the journal has '{self.recorded}', the code does "
            f"'{self.actual}'{at}. The dialog's code changed under a running conversation: give "
            f"operations a key=, or choose the dialog's policy (on_change='restart' or 'hold')."
        )


# -- starting up -------------------------------------------------------------------------------


class ConfigError(LegatoError):
    """Legato cannot start like this. The message is one line and names the cure."""


class AppNotFound(ConfigError):
    """The bot file or module has no App."""


class MissingExtra(ConfigError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        self.what = what
        self.extra = extra
        super().__init__(f"{what} needs an extra: pip install 'legato[{extra}]'")


class BadToken(ConfigError):
    """The platform refused the token (or another credential)."""


# -- the store ---------------------------------------------------------------------------------


class StoreError(LegatoError):
    """The store could not do it. What was committed before is still there."""


class StoreUnavailable(StoreError):
    """Locked or out of reach; the same call may succeed later."""


class StoreFull(StoreUnavailable):
    """No space left; the same call succeeds once there is space again."""


class StoreTooMuch(StoreError):
    """It is more than the store writes at once; the same call never succeeds."""


class StoreCorrupt(StoreError):
    """The file is damaged, or is no Legato store."""


class StoreBusy(StoreError, ConfigError):
    """Another process runs on this store."""


class StoreNewer(StoreError, ConfigError):
    """The store was written by a newer version of Legato."""


# -- incoming requests -------------------------------------------------------------------------


class IngressError(LegatoError):
    """An incoming request is refused."""


class Forged(IngressError):
    """The request's signature or secret is missing or wrong."""


class Malformed(IngressError):
    """The request is authentic, but its body cannot be read."""


class Unavailable(IngressError):
    """Nothing durable was made of the request: the platform must send it again.

    Attributes:
        retry_after_s: What the Retry-After header should say.
    """

    def __init__(self, message: str = "", retry_after_s: int = 1) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


# -- control flow ------------------------------------------------------------------------------


class ControlFlow(BaseException):
    """Base of what must pass through `except Exception` untouched."""


class Cancelled(ControlFlow):
    """Raised at the wait when the conversation is cancelled. Saying goodbye is allowed.

    Attributes:
        reason: "command", "operator" or "replaced"; in a branch also "race" (another branch decided)
            or "gone" (the user is gone).
    """

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason)


class Evict(ControlFlow):
    """Private: the live coroutine leaves memory. The conversation itself goes on elsewhere."""


class Left(ControlFlow):
    """Private: unwinds a function whose epoch ended with goto."""


class ScopeTimeout(ControlFlow):
    """Private: a deadline of an enclosing `async with chat.timeout(...)` passed."""

    def __init__(self, scope: object = None) -> None:
        self.scope = scope
        super().__init__()
