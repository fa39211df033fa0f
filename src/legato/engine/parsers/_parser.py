"""Parsers: of texts, of choices, of what a message carries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from decimal import InvalidOperation
from typing import Any

from legato.engine.parsers import _texts as texts
from legato.errors import Misuse
from legato.model.events import Attachment, ButtonPressed, MessageReceived

Answer = MessageReceived | ButtonPressed


class Parser(ABC):
    """Reads the answers to one question.

    Attributes:
        name: What the journal calls an answer of this kind.
        choices: Answers to offer as buttons, in order: (label, payload).
    """

    __slots__ = ("choices", "name")

    def __init__(self, name: str, choices: Sequence[tuple[str, str]] = ()) -> None:
        self.name: str = name
        self.choices: Sequence[tuple[str, str]] = choices

    @abstractmethod
    def read(self, event: Answer) -> Any:
        """The value that `event` answers with. Pure.

        Raises:
            ValueError: It is no good answer; the text says what would be, for the person to read.
        """


class TextParser(Parser):
    """Reads texts. A pressed button counts as what it carries."""

    __slots__ = ()

    def read(self, event: Answer) -> Any:
        text = texts.stripped(event.data if isinstance(event, ButtonPressed) else event.text)
        if not text:
            raise ValueError("Please answer with a text.")
        return self.read_text(text)

    @abstractmethod
    def read_text(self, text: str) -> Any:
        """The value of a text that is stripped and not empty.

        Raises:
            ValueError: As `read`.
        """


class FormParser(TextParser):
    """Reads texts of one form."""

    __slots__ = ("_of_text",)

    def __init__(
        self, name: str, of_text: Callable[[str], Any], choices: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(name, choices)
        self._of_text = of_text

    def read_text(self, text: str) -> Any:
        return self._of_text(text)


class BoundedParser(FormParser):
    """Reads what lies between two bounds (or has a size between them)."""

    __slots__ = ("_max", "_min", "_must", "_size", "_unit")

    def __init__(
        self,
        name: str,
        of_text: Callable[[str], Any],
        bounds: tuple[Any, Any],
        *,
        size: Callable[[Any], Any] | None = None,
        must: str = "The number must be",
        unit: str = "",
    ) -> None:
        super().__init__(name, of_text)
        self._min, self._max = bounds
        self._must = must
        self._size = size
        self._unit = unit

    def read_text(self, text: str) -> Any:
        value = self._of_text(text)
        size = value if self._size is None else self._size(value)
        low, high = self._min, self._max
        if (low is None or low <= size) and (high is None or size <= high):
            return value
        if high is None:
            wanted = f"at least {low}"
        elif low is None:
            wanted = f"at most {high}"
        else:
            wanted = f"{low} to {high}"
        raise ValueError(f"{self._must} {wanted}{self._unit}.")


class ChoiceParser(TextParser):
    """Reads one of several answers: by its payload, its label in any case, or its number."""

    __slots__ = ("_values",)

    def __init__(self, name: str, options: Sequence[tuple[str, str, Any]]) -> None:
        super().__init__(name, tuple((label, payload) for label, payload, _ in options))
        self._values = [value for _, _, value in options]
        if not options:
            raise Misuse(f"ask(..., {name}): there is nothing to choose from")
        for position in (0, 1):
            said = [option[position] for option in options]
            if len(set(said)) < len(said):
                twice = next(text for text in said if said.count(text) > 1)
                raise Misuse(
                    f"ask(..., {name}): '{twice}' is offered twice. Let each answer differ"
                )

    def read(self, event: Answer) -> Any:
        if isinstance(event, ButtonPressed):
            for (_, payload), value in self._options():
                if payload == event.data:
                    return value
        return super().read(event)

    def _options(self) -> Iterable[tuple[tuple[str, str], Any]]:
        return zip(self.choices, self._values, strict=True)

    def read_text(self, text: str) -> Any:
        for (label, _), value in self._options():
            if label == text:
                return value
        folded = texts.folded(text)
        found = [
            value
            for (label, payload), value in self._options()
            if folded in (texts.folded(label), texts.folded(payload))
        ]
        if len(found) == 1:
            return found[0]
        number = texts.ordinal(text)
        if 1 <= number <= len(self._values) and not any(
            texts.is_number(label) for label, _ in self.choices
        ):
            return self._values[number - 1]
        labels = [label for label, _ in self.choices]
        more = ", ..." if len(labels) > _SHOWN else ""
        raise ValueError(f"Please choose one of: {', '.join(labels[:_SHOWN])}{more}.")


_SHOWN = 12
"""So many answers are named in the reason."""


class AttachmentParser(Parser):
    """Reads the first attachment of one class."""

    __slots__ = ("_cls", "_wanted")

    def __init__(self, name: str, cls: type[Attachment], wanted: str) -> None:
        super().__init__(name)
        self._cls = cls
        self._wanted = wanted

    def read(self, event: Answer) -> Any:
        for attachment in getattr(event, "attachments", ()):
            if isinstance(attachment, self._cls):
                return attachment
        raise ValueError(self._wanted)


class EventParser(Parser):
    """Takes every answer as it is."""

    __slots__ = ()

    def read(self, event: Answer) -> Any:
        return event


class CallParser(TextParser):
    """Reads what a function of the bot makes of the text."""

    __slots__ = ("_function",)

    def __init__(self, name: str, function: Callable[[str], Any]) -> None:
        super().__init__(name)
        self._function = function

    def read_text(self, text: str) -> Any:
        try:
            return self._function(text)
        except ValueError as error:
            raise ValueError(str(error) or _OTHERWISE) from error
        except (TypeError, InvalidOperation) as error:
            if self._was_not_entered(error):
                raise Misuse(
                    f"ask(..., {self.name}): it must take one argument, the text"
                ) from error
            raise ValueError(_OTHERWISE) from error

    def _was_not_entered(self, error: Exception) -> bool:
        """Whether the call itself failed: that is no bad answer, and would be so for every answer."""
        function: Any = self._function
        function = getattr(
            function, "__init__" if isinstance(function, type) else "__func__", function
        )
        here = error.__traceback__
        return hasattr(function, "__code__") and here is not None and here.tb_next is None


_OTHERWISE = "That answer does not fit. Please try again."
