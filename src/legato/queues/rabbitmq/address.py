"""Where a broker is: amqp://user:password@host:5672,second:5672/vhost?heartbeat=5.

As in https://www.rabbitmq.com/docs/uri-spec and .../uri-query-parameters (read in 2026), but for the
several hosts: they are tried in turn, from a random one on.
"""

from __future__ import annotations

import ssl
from urllib.parse import parse_qsl, unquote

from legato.errors import ConfigError

FORM = "write amqp://user:password@host:5672/vhost"
HEARTBEAT_S = 5
CONNECT_MS = 5000
_FILES = ("cacertfile", "certfile", "keyfile")
_OPTIONS = ("heartbeat", "connection_timeout", "verify", "server_name_indication", *_FILES)


class Address:
    """A parsed address. Its text never shows the password.

    Args:
        url: amqp:// or amqps:// with one host or several with commas between. Options after "?":
            heartbeat (seconds, 0 for none), connection_timeout (milliseconds), and for amqps
            cacertfile, certfile, keyfile, server_name_indication and verify (verify_peer, which is
            the default, or verify_none).

    Raises:
        ConfigError: It is none; the message shows no secret.
    """

    def __init__(self, url: str) -> None:
        scheme, sep, rest = url.partition("://")
        if scheme not in ("amqp", "amqps") or not sep:
            raise ConfigError(f"this is no address of a broker: {FORM}")
        self.tls: bool = scheme == "amqps"
        rest, _, query = rest.partition("?")
        authority, _, vhost = rest.partition("/")
        login, at, hosts = authority.rpartition("@")
        user, colon, password = login.partition(":")
        self.user: str = unquote(user) if at else "guest"
        self.password: str = unquote(password) if colon else ("" if at else "guest")
        self.vhost: str = unquote(vhost) or "/"
        self.hosts: tuple[tuple[str, int], ...] = tuple(self._host(h) for h in hosts.split(","))
        self._options = self._read(query)
        self.heartbeat_s: int = self._number("heartbeat", HEARTBEAT_S, 0, 3600)
        self.connect_s: float = self._number("connection_timeout", CONNECT_MS, 1, 600_000) / 1000

    def __repr__(self) -> str:
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"amqp{'s' if self.tls else ''}://{hosts}/{'' if self.vhost == '/' else self.vhost}"

    @property
    def server_name(self) -> str:
        """What the certificate must be for; "" for the host's own name."""
        return self._options.get("server_name_indication", "")

    def context(self) -> ssl.SSLContext | None:
        """For TLS, and None without.

        Raises:
            ConfigError: A file of a certificate or key cannot be used.
        """
        if not self.tls:
            return None
        files = {name: self._options.get(name) for name in _FILES}
        try:
            context = ssl.create_default_context(cafile=files["cacertfile"])
            if files["certfile"]:
                context.load_cert_chain(files["certfile"], files["keyfile"])
        except OSError as error:
            used = ", ".join(f"{name}={path}" for name, path in files.items() if path)
            raise ConfigError(f"the broker's address: {used or 'amqps'}: {error}") from None
        if self._options.get("verify") == "verify_none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _host(self, text: str) -> tuple[str, int]:
        if text.startswith("["):
            host, _, port = text[1:].partition("]")
            port = port.removeprefix(":")
        else:
            host, _, port = text.partition(":")
        if not host or not (port or "0").isdecimal() or int(port or 0) > 65535:
            raise ConfigError(
                f"the broker's address has no usable host and port: {FORM}, with special characters of a "
                "password as %2F, %40 and so on"
            )
        return host, int(port or (5671 if self.tls else 5672))

    def _read(self, query: str) -> dict[str, str]:
        found = dict(parse_qsl(query, keep_blank_values=True))
        for name in found:
            if name not in _OPTIONS:
                raise ConfigError(
                    f"the broker's address has an unknown option {name!r:.40}: "
                    f"there are {', '.join(_OPTIONS)}"
                )
        if found.get("verify", "verify_peer") not in ("verify_peer", "verify_none"):
            raise ConfigError("the broker's address: verify is verify_peer or verify_none")
        return found

    def _number(self, name: str, default: int, least: int, most: int) -> int:
        text = self._options.get(name, str(default))
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ConfigError(
                f"the broker's address: {name} is a whole number from {least} to {most}"
            )
        return int(text)


__all__ = ["Address"]
