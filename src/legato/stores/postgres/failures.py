"""The driver's and the server's errors in our words: what happened, and what to do.

Known by their SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html), so the driver is
not imported here.
"""

from __future__ import annotations

from legato.errors import (
    ConfigError,
    LegatoError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from legato.stores.postgres.functions import LOST, OVERTAKEN

AGAIN = frozenset({"40001", "40P01", LOST, OVERTAKEN})
"""What another transaction is to blame for: the same may succeed at once."""
READ_ONLY = "25006"
LOCKED = "55P03"
_FULL = frozenset({"53100"})
_CORRUPT = frozenset({"XX001", "XX002"})
_SCHEMA_GONE = frozenset({"42P01", "3F000", "42883", "42703"})
_NOT_LET_IN = frozenset({"28P01", "28000", "3D000", "42501"})
_AWAY = ("08", "53", "57", "40", "LG")
"""Classes: connection, resources, operator intervention (shutdown, timeout), rollback."""
_AWAY_CODES = frozenset({READ_ONLY, LOCKED, "58030", "58000", "55000", "25P03"})


def sqlstate(error: BaseException) -> str:
    """The server's code for an error, "" where it has none."""
    return getattr(error, "sqlstate", None) or ""


def fatal(error: BaseException) -> bool:
    """Whether the connection is over after this error, so that nobody knows what became of a COMMIT."""
    code = sqlstate(error)
    if not code or code.startswith("08"):  # the driver has codes of its own for a lost connection
        return True
    words = (getattr(error, "severity_en", None), getattr(error, "severity", None))
    return "FATAL" in words or "PANIC" in words


def explained(error: BaseException, name: str) -> LegatoError:
    """The error as ours.

    Args:
        error: What the driver raised. Its text holds no password: the driver never puts one there.
        name: Which database.
    """
    if isinstance(error, LegatoError):
        return error
    code = sqlstate(error)
    what = f"{name}: {str(error) or type(error).__name__}"
    if code in _FULL:
        return StoreFull(
            f"{what}. The disk of the database server is full. Make room; nothing committed was lost."
        )
    if code in _CORRUPT:
        return StoreCorrupt(f"{what}. The database is damaged: stop the bots and restore a backup.")
    if code in _SCHEMA_GONE:
        return StoreCorrupt(
            f"{what}. Tables or functions of Legato are missing: was the schema changed by hand, or is it "
            "an old backup? Restore it; a start creates it only where there is none."
        )
    if code == READ_ONLY:
        return StoreUnavailable(
            f"{what}. This server takes no writes (a standby?). List all hosts in LEGATO_STORE, "
            "separated by commas: the one that takes writes is found by itself."
        )
    if not code or code in _AWAY_CODES or code in _NOT_LET_IN or code.startswith(_AWAY):
        return StoreUnavailable(f"{what}. It will be tried again.")
    return StoreError(what)


def refused_at_start(error: BaseException, name: str) -> LegatoError:
    """The same while the store is opened, when a person can still mend the settings."""
    code = sqlstate(error)
    what = f"{name}: {error}"
    if code in ("28P01", "28000"):
        return ConfigError(f"{what}. Check user and password in LEGATO_STORE.")
    if code == "3D000":
        return ConfigError(f"{what}. Create it (createdb), or name another one in LEGATO_STORE.")
    if code == "42704":
        return ConfigError(f"{what}. Check what stands behind the ? in LEGATO_STORE.")
    if code == "42501":
        return ConfigError(
            f"{what}. The user must be allowed to create the schema (GRANT CREATE ON DATABASE), or an "
            "administrator creates it: CREATE SCHEMA legato AUTHORIZATION user"
        )
    if isinstance(error, OSError):
        return StoreUnavailable(f"{what}. Does it run there, and is LEGATO_STORE right?")
    return explained(error, name)


def bad_address(name: str) -> ConfigError:
    """What is said of an address that the driver cannot read: its own words may quote a password."""
    return ConfigError(
        f"{name}: the address in LEGATO_STORE cannot be used: check its parameters (sslmode, sslrootcert "
        "and the like, as libpq spells them)"
    )
