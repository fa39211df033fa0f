"""The App: what a bot author makes first, and hangs dialogs on."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from legato.app.triggers import Trigger, Triggers, button_pattern, kind_pattern
from legato.engine.commands import event_tag_of
from legato.engine.dialog import HOLD, RESTART, Dialog, Dialogs
from legato.engine.watchdog import DEFAULT_S
from legato.errors import Misuse
from legato.model.events import Address, Event
from legato.model.ids import SCOPES
from legato.model.messages import Message

if TYPE_CHECKING:
    from legato.app.runtime import Runtime
    from legato.engine.chat import Chat

F = TypeVar("F", bound=Callable[..., Any])

APOLOGY = "Sorry, something went wrong. It has been noted, and nothing you said is lost."


class Router:
    """A set of dialogs and triggers; an App includes any number of them.

    Every handler is a dialog: one that never asks is a dialog of one Turn. All decorators return
    the function itself, so that dialogs can call each other plainly. Options of all of them:

        name: What the store knows the dialog by (default: the function's name). Keep it when you
            rename the function.
        version: Any text, for reports.
        scope: "user_in_chat", "chat", "user" or "thread" (default: the App's).
        idle: Limit of each wait for a person (default: the App's).
        on_change: "restart" or "hold": what happens to running conversations that changed code no
            longer fits.
        on_restart: function(answers) -> arguments to begin anew with.
        delivery: "at_least_once" or "at_most_once".
        only: "private", "groups", "moderators" or "broadcaster".
    """

    def __init__(self) -> None:
        self.entries: list[tuple[Any, dict[str, Any], dict[str, Any]]] = []

    def command(
        self,
        *names: str,
        help: str = "",
        anywhere: bool = False,
        cancels: bool = False,
        **options: Any,
    ) -> Callable[[F], F]:
        """Starts the dialog on a command: "start" is /start on Telegram and !start on Twitch. A
        running dialog of the same user is cancelled first, unless `anywhere`.

        Args:
            names: The command and its aliases.
            help: One line for /help.
            anywhere: Runs during another dialog, which then shows its question again.
            cancels: Raises Cancelled inside the waiting dialog, then runs.
            options: See Router.
        """
        if not names or not all(name and name.split() == [name] for name in names):
            raise Misuse("command() takes names without spaces, e.g. @app.command('start')")
        commands = tuple(name.lower().lstrip("/!") for name in names)
        return self._entry(
            options, commands=commands, help=help, anywhere=anywhere or cancels, cancels=cancels
        )

    def message(self, pattern: str = "", **options: Any) -> Callable[[F], F]:
        """Starts the dialog on a message whose text matches a regular expression (its named
        groups become arguments); without one, on any message that nobody else took.
        """
        return self._entry(options, pattern=pattern)

    def button(self, template: str, **options: Any) -> Callable[[F], F]:
        """Starts the dialog when a button with this data is pressed outside of any waiting
        dialog; `{name}` parts of the template become arguments.
        """
        return self._entry(options, pattern=button_pattern(template), events=("button",))

    def on(self, *kinds: type[Event], **options: Any) -> Callable[[F], F]:
        """Starts the dialog on any event of these types, e.g. MemberJoined."""
        return self._entry(options, events=tuple(event_tag_of(kind) for kind in kinds))

    def event(self, kind: str, **options: Any) -> Callable[[F], F]:
        """Starts the dialog when something of this kind happens outside of any chat: a file came to
        a bucket, a row of a table changed, a time of a schedule came (see Happened).

        `chat.event` is what happened. The dialog has nobody to talk to; a step of it may call
        `app.broadcast` or `app.signal`.

        Args:
            kind: As in Happened.kind; "*" stands for any text: "s3:ObjectCreated:*".
            options: See Router.
        """
        if not kind:
            raise Misuse("event() takes the kind of what happens, e.g. 's3:ObjectCreated:*'")
        return self._entry(options, pattern=kind_pattern(kind), events=("happened",))

    def dialog(self, **options: Any) -> Callable[[F], F]:
        """Registers a dialog that only `chat.goto` leads to."""
        return self._entry(options)

    def _entry(self, options: dict[str, Any], **trigger: Any) -> Callable[[F], F]:
        def register(fn: F) -> F:
            self._add(fn, options, trigger)
            return fn

        return register

    def _add(self, fn: Any, options: dict[str, Any], trigger: dict[str, Any]) -> None:
        self.entries.append((fn, options, trigger))


class App(Router):
    """A bot.

    Args:
        name: For logs and pages.
        prefixes: What commands begin with.
        scope: Which messages belong to one conversation, unless a dialog says otherwise.
        idle: Limit of each wait for a person, unless a dialog or a question says otherwise.
        apology: Said once when a dialog fails because of a bug; "" says nothing.
        step_timeout: Limit of one try of a step that has none of its own (10 minutes), 0 = none.
        help: Whether /help (a list of the commands) and /cancel are there unless written anew.
        hint: What a person is told who writes a command that there is not, in a talk between two.
            True: that it is not known, and of /help. A text: this, also where no dialog runs and
            nobody takes what was written. False or "": nothing. In rooms with many people nothing
            is ever said.
    """

    def __init__(
        self,
        name: str = "bot",
        *,
        prefixes: tuple[str, ...] = ("/", "!"),
        scope: str = "user_in_chat",
        idle: timedelta | float | None = None,
        apology: str = APOLOGY,
        step_timeout: timedelta | float = DEFAULT_S,
        help: bool = True,
        hint: bool | str = True,
    ) -> None:
        super().__init__()
        self.name: str = name
        self.prefixes: tuple[str, ...] = prefixes
        self.scope: str = _one_of("scope", scope, SCOPES)
        self.idle: timedelta | float | None = idle
        self.apology: str = apology
        self.step_timeout_s: float = _seconds(step_timeout)
        self.dialogs: Dialogs = Dialogs()
        self.triggers: Triggers = Triggers()
        self._help = help
        self._hint = hint
        self._factories: dict[Any, Callable[[], Any]] = {}
        self._runtime: Runtime | None = None

    # -- building ---------------------------------------------------------------------------------

    def include(self, router: Router) -> None:
        """Takes over all dialogs and triggers of `router`, but for what `finish` gave it of ours."""
        for fn, options, trigger in router.entries:
            if not options.get("name", "").startswith("legato."):
                self._add(fn, options, trigger)

    def provide(self, kind: type[Any], factory: Callable[[], Any]) -> None:
        """Parameters annotated with `kind` get what `factory()` makes: call this before the
        dialogs that need it. The value is made anew for every replay, so it must be no result.
        """
        self._factories[kind] = factory

    def _add(self, fn: Any, options: dict[str, Any], trigger: dict[str, Any]) -> None:
        super()._add(fn, options, trigger)
        dialog = self.dialogs.add(self._dialog(fn, dict(options)))
        if trigger:
            self.triggers.add(Trigger(dialog=dialog, only=options.get("only", ""), **trigger))

    def _dialog(self, fn: Any, options: dict[str, Any]) -> Dialog:
        options.pop("only", None)
        code = getattr(fn, "__code__", None)
        if code is None or not code.co_flags & 0x80 or code.co_argcount < 1:
            raise Misuse(f"a dialog is written `async def name(chat): ...`, not {fn!r:.60}")
        idle = options.pop("idle", self.idle)
        scope = options.pop("scope", None) or self.scope
        change = options.pop("on_change", RESTART)
        known = {"name", "version", "on_restart", "delivery"}
        if extra := set(options) - known:
            raise Misuse(f"unknown option of dialog {fn.__name__!r}: {', '.join(sorted(extra))}")
        return Dialog(
            name=options.pop("name", None) or fn.__name__,
            fn=fn,
            scope=_one_of("scope", scope, SCOPES),
            idle_s=None if idle is None else _seconds(idle),
            on_change=_one_of("on_change", change, (RESTART, HOLD)),
            delivery=_one_of(
                "delivery",
                options.pop("delivery", "at_least_once"),
                ("at_least_once", "at_most_once"),
            ),
            inject=self._injected(fn),
            **options,
        )

    def _injected(self, fn: Any) -> dict[str, Callable[[], Any]]:
        if not self._factories:
            return {}
        by_name = {kind.__name__: make for kind, make in self._factories.items()}
        found: dict[str, Callable[[], Any]] = {}
        for name, note in fn.__annotations__.items():
            text = note if isinstance(note, str) else getattr(note, "__name__", "")
            if name != "return" and text.rpartition(".")[2] in by_name:
                found[name] = by_name[text.rpartition(".")[2]]
        return found

    def finish(self) -> None:
        """Adds /help, /cancel and the hint where they are wanted and not written. Idempotent."""
        if self._help and not self.triggers.has_command("help"):
            self.command("help", anywhere=True, name="legato.help")(self._say_help)
        if self._help and not self.triggers.has_command("cancel"):
            self.command("cancel", cancels=True, name="legato.cancel")(_say_cancelled)
        if self._hint and self.triggers.hint is None:
            dialog = self.dialogs.add(self._dialog(self._say_hint, {"name": "legato.hint"}))
            self.triggers.hint = Trigger(dialog=dialog, only="private")
            self.triggers.hints_for_texts = isinstance(self._hint, str)

    async def _say_hint(self, chat: Chat) -> None:
        if isinstance(self._hint, str):
            await chat.say(self._hint)
            return
        command = chat.message.text.split()[0]
        has_help = self.triggers.has_command("help")
        more = f" {command[0]}help lists what I can do." if has_help else ""
        await chat.say(f"I do not know {command}.{more}")

    async def _say_help(self, chat: Chat) -> None:
        prefix = "/" if chat.platform != "twitch" else "!"
        lines = [f"{prefix}{name} - {text}" for name, text in self.triggers.help()]
        listed = {line.split(" ", 1)[0] for line in lines}
        names = [f"{prefix}{t.commands[0]}" for t in self.triggers.all if t.commands]
        lines.extend(name for name in names if name not in listed)
        await chat.say("\n".join(lines))

    def attach(self, runtime: Runtime) -> None:
        """`app.signal` goes to this runtime from now on."""
        self._runtime = runtime

    def detach(self, runtime: Runtime) -> None:
        """`runtime` has stopped."""
        if self._runtime is runtime:
            self._runtime = None

    # -- from outside -------------------------------------------------------------------------------

    async def signal(
        self, conversation: str, name: str, value: Any = None, *, id: str = ""
    ) -> bool:
        """Lets `chat.wait_for(name)` in `conversation` (its `chat.id`) go on with `value`.

        A signal that comes too early waits for the dialog. Returns False if there is no such
        conversation (any more).

        Args:
            conversation: `chat.id` of the dialog.
            name: What happened.
            value: Anything the journal can keep; it comes out typed.
            id: Set it to something unique of the cause (an order's number) if the cause may be
                reported twice: the second is ignored.

        Raises:
            Misuse: The App is not running in this process: use `legato dialogs signal` there.
        """
        if self._runtime is None:
            raise Misuse("app.signal() works where the App runs; elsewhere: legato dialogs signal")
        return await self._runtime.signal(conversation, name, value, id=id)

    async def broadcast(
        self,
        to: Iterable[str | Address],
        message: Message | str,
        *,
        id: str,
        progress: Callable[[int], object] | None = None,
    ) -> int:
        """Sends a message to many people, durably and within the platform's limit for that.

        A call that died in the middle is made again with the same `id`, and goes on where it was: nobody
        gets it twice. Returns how many recipients were queued by this call, or by all tries of the step that makes it;
        the sending goes on.

        Args:
            to: `chat.id`s, or Addresses.
            message: A text or a Message.
            id: Unique name of this broadcast, e.g. "news-2026-12".
            progress: Called with the number of recipients queued so far.

        Raises:
            Misuse: The App is not running in this process.
        """
        from legato.app.broadcast import broadcast

        if self._runtime is None:
            raise Misuse("app.broadcast() works where the App runs")
        return await broadcast(self._runtime, to, message, id=id, progress=progress)

    def aws_lambda(self, **options: Any) -> Callable[[Any, Any], Any]:
        """A handler for AWS Lambda: `handler = app.aws_lambda()`. See legato.deploy.function.aws."""
        return self._shell("function.aws").aws_lambda(self, **options)  # type: ignore[no-any-return]

    def yandex(self, **options: Any) -> Callable[[Any, Any], Any]:
        """A handler for Yandex Cloud Functions. See legato.deploy.function.yandex."""
        return self._shell("function.yandex").yandex(self, **options)  # type: ignore[no-any-return]

    def google(self, **options: Any) -> Callable[[Any], Any]:
        """A handler for Google Cloud Functions. See legato.deploy.function.google."""
        return self._shell("function.google").google(self, **options)  # type: ignore[no-any-return]

    def azure(self, **options: Any) -> Any:
        """An app for Azure Functions. See legato.deploy.function.azure."""
        return self._shell("function.azure").azure(self, **options)

    def openwhisk(self, **options: Any) -> Callable[..., Any]:
        """An action for Apache OpenWhisk and Selectel. See legato.deploy.function.openwhisk."""
        return self._shell("function.openwhisk").openwhisk(self, **options)  # type: ignore[no-any-return]

    def asgi(self, *, frozen: bool = False, timeout_s: float = 60.0, **options: Any) -> Any:
        """An ASGI application that serves the webhooks. See legato.deploy.http.

        Args:
            frozen: For a service that gives a process no CPU between requests (Cloud Run, Knative,
                OpenFaaS): everything is done before the answer. See legato.deploy.function.frozen.
            timeout_s: Then, how long a request may take.
            options: Settings that go before the environment.
        """
        if frozen:
            return self._shell("function.frozen").Frozen(self, timeout_s, options)
        return self._shell("http").asgi(self, **options)

    @staticmethod
    def _shell(name: str) -> Any:
        """Shells stand above the App, so they are found by name and only when asked for."""
        return importlib.import_module(f"legato.deploy.{name}")


async def _say_cancelled(chat: Chat) -> None:
    await chat.say("Cancelled.")


def _seconds(duration: timedelta | float) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise Misuse(f"{what}={value!r}: choose one of {', '.join(map(repr, allowed))}")
    return value


__all__ = ["App", "Router", "Trigger"]
