"""Lines of shell scripts that deploy a package."""

from __future__ import annotations

import json


def quoted(text: str) -> str:
    """One word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def webhook(address: str, api: str = "") -> list[str]:
    """Lets Telegram send to an address: as the bot itself would, but for the menu of its commands. Token and
    secret go to curl by its input, since others of the machine see the words of commands.

    Args:
        address: Of the function, in words of the shell; its variable is $url.
        api: Address of the Bot API, "" = the official one.
    """
    from legato.platforms.telegram.platform import API, UPDATES

    kinds = json.dumps(UPDATES, separators=(",", ":"))
    return [
        ': "${url:?the function has no address}"',
        "answer=$(",
        '  printf \'url = "%s/bot%s/setWebhook"\\ndata = "secret_token=%s"\\n\' \\',
        f'    {quoted(api or API)} "$TELEGRAM_TOKEN" "$TELEGRAM_SECRET" |',
        f'    curl -sS --config - --data-urlencode "url={address}" \\',
        f"      --data-urlencode 'allowed_updates={kinds}'",
        ")",
        'echo "Telegram: $answer"',
        "case $answer in *'\"ok\":true'*) ;; *) exit 1 ;; esac",
    ]


__all__ = ["quoted", "webhook"]
