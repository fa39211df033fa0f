"""Legato: durable straight-line chat dialogs.

from legato import App, Chat

app = App("hello")

@app.command("start")
async def start(chat: Chat) -> None:
    name = await chat.ask("What is your name?")
    await chat.say(f"Hello {name}!")
"""

from legato.app.app import App as App
from legato.app.app import Router as Router
from legato.engine.chat import Chat as Chat
from legato.engine.handles import Handle as Handle
from legato.engine.parsers import Email as Email
from legato.engine.steps import idempotency_key as idempotency_key
from legato.engine.steps import step as step
from legato.errors import Cancelled as Cancelled
from legato.errors import LegatoError as LegatoError
from legato.errors import StepError as StepError
from legato.errors import StepInterrupted as StepInterrupted
from legato.errors import Timeout as Timeout
from legato.errors import TooManyAttempts as TooManyAttempts
from legato.errors import Unsupported as Unsupported
from legato.errors import UserGone as UserGone
from legato.model.events import ButtonPressed as ButtonPressed
from legato.model.events import Contact as Contact
from legato.model.events import Event as Event
from legato.model.events import File as File
from legato.model.events import Happened as Happened
from legato.model.events import Location as Location
from legato.model.events import MemberJoined as MemberJoined
from legato.model.events import MemberLeft as MemberLeft
from legato.model.events import MessageEdited as MessageEdited
from legato.model.events import MessageReceived as MessageReceived
from legato.model.events import Photo as Photo
from legato.model.events import ReactionChanged as ReactionChanged
from legato.model.events import User as User
from legato.model.messages import Button as Button
from legato.model.messages import Message as Message
from legato.model.values import register as register

__all__ = [
    "App",
    "Button",
    "ButtonPressed",
    "Cancelled",
    "Chat",
    "Contact",
    "Email",
    "Event",
    "File",
    "Handle",
    "Happened",
    "LegatoError",
    "Location",
    "MemberJoined",
    "MemberLeft",
    "Message",
    "MessageEdited",
    "MessageReceived",
    "Photo",
    "ReactionChanged",
    "Router",
    "StepError",
    "StepInterrupted",
    "Timeout",
    "TooManyAttempts",
    "Unsupported",
    "User",
    "UserGone",
    "idempotency_key",
    "register",
    "step",
]
