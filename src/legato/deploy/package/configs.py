"""What to tell Yandex Cloud and Google Cloud: their tools deploy the zip, these are the words for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from legato.deploy.package.build import Manifest

STORE = "LEGATO_STORE"
USUAL = ("TELEGRAM_SECRET", "TELEGRAM_TOKEN")
"""Secrets of a bot that says nothing else."""


def config_of(
    manifest: Manifest, archive: str, variables: Mapping[str, str], secrets: Sequence[str]
) -> str:
    """A shell script that deploys a package; "" for AWS, which `legato deploy aws` does.

    Args:
        manifest: Of the package.
        archive: Path of the zip.
        variables: Settings that are no secrets.
        secrets: Names of those that are.
    """
    secrets = sorted(set(secrets) or set(USUAL))
    if "TELEGRAM_TOKEN" in secrets:  # whoever is told of the webhook must know its secret
        secrets = sorted({*secrets, *USUAL})
    secrets = sorted({*secrets, STORE})  # the address of a database holds its password
    if manifest.service == "yandex":
        return _yandex(manifest, archive, variables, secrets)
    if manifest.service == "google":
        return _google(manifest, archive, variables, secrets)
    return ""


def _yandex(
    manifest: Manifest, archive: str, variables: Mapping[str, str], secrets: Sequence[str]
) -> str:
    name = _name(manifest.app)
    lines = [
        "#!/bin/sh",
        "# Deploys to Yandex Cloud Functions. Before it, once: a service account, a Lockbox secret with the",
        f"# keys {', '.join(secrets)}: the store is one that the function reaches.",
        "set -eu",
        ': "${SERVICE_ACCOUNT_ID:?}" "${LOCKBOX_SECRET_ID:?}"',
        *_needed(secrets),
        f"yc serverless function get {name} >/dev/null 2>&1 || yc serverless function create {name}",
        f"yc serverless function version create --function-name {name} \\",
        f"  --runtime python{manifest.python.replace('.', '')} --entrypoint legato_handler.handler \\",
        "  --memory 256m --execution-timeout 30s --concurrency 1 \\",
        '  --service-account-id "$SERVICE_ACCOUNT_ID" \\',
        *[f"  --environment {_quoted(f'{k}={v}')} \\" for k, v in sorted(variables.items())],
        *[
            f'  --secret "environment-variable={key},id=$LOCKBOX_SECRET_ID,key={key}" \\'
            for key in secrets
        ],
        f"  --source-path {_quoted(archive)}",
        f"yc serverless function allow-unauthenticated-invoke {name}",
        f"yc serverless trigger create timer {name}-tick --cron-expression '* * ? * * *' \\",
        f"  --invoke-function-name {name} --payload tick \\",
        '  --invoke-function-service-account-id "$SERVICE_ACCOUNT_ID" || true  # it is there already',
        f"url=$(yc serverless function get {name} --format json |",
        """  sed -n 's/.*"http_invoke_url": "\\(.*\\)".*/\\1/p')""",
        *_webhook("?to=telegram", secrets),
    ]
    return "\n".join(lines) + "\n"


def _google(
    manifest: Manifest, archive: str, variables: Mapping[str, str], secrets: Sequence[str]
) -> str:
    name = _name(manifest.app)
    plain = "|".join(f"{name}={value}" for name, value in sorted(variables.items()))
    lines = [
        "#!/bin/sh",
        "# Deploys to Google Cloud Functions. Before it, once: `gcloud secrets create NAME --data-file=-` for",
        f"# {', '.join(secrets)}: the store is one that the function reaches.",
        "set -eu",
        ': "${REGION:?}"',
        *_needed(secrets),
        "folder=$(mktemp -d)",
        "trap 'rm -rf \"$folder\"' EXIT",
        f'unzip -q {_quoted(archive)} -d "$folder"',
        f'gcloud functions deploy {name} --gen2 --region "$REGION" --source "$folder" \\',
        f"  --runtime python{manifest.python.replace('.', '')} --entry-point handler --trigger-http \\",
        "  --allow-unauthenticated --memory 256Mi --timeout 60s --concurrency 1 \\",
        *([f"  --set-env-vars {_quoted(f'^|^{plain}')} \\"] if plain else []),
        f"  --set-secrets {','.join(f'{key}={key}:latest' for key in secrets)}",
        f'url=$(gcloud functions describe {name} --gen2 --region "$REGION" --format "value(url)")',
        f"gcloud scheduler jobs create http {name}-tick --location \"$REGION\" --schedule '* * * * *' \\",
        '  --uri "$url/tick" --http-method POST || true  # it is there already',
        *_webhook("/telegram", secrets),
    ]
    return "\n".join(lines) + "\n"


def _needed(secrets: Sequence[str]) -> list[str]:
    """Asks at the start for what the webhook is set with at the end."""
    if "TELEGRAM_TOKEN" not in secrets:
        return []
    return [': "${TELEGRAM_TOKEN:?}" "${TELEGRAM_SECRET:?as it is stored, for the webhook}"']


def _webhook(path: str, secrets: Sequence[str]) -> list[str]:
    """Lets Telegram send there."""
    if "TELEGRAM_TOKEN" not in secrets:
        return []
    return [
        'curl -sS "https://api.telegram.org/bot${TELEGRAM_TOKEN:?}/setWebhook" \\',
        f'  --data-urlencode "url=$url{path}" -d "secret_token=${{TELEGRAM_SECRET:?}}"',
    ]


def _name(app: str) -> str:
    """A name that both services take."""
    text = "".join(c if c.isascii() and c.isalnum() else "-" for c in app.lower()).strip("-")
    return f"legato-{text or 'bot'}"[:60]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


__all__ = ["config_of"]
