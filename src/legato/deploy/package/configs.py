"""What to tell Yandex Cloud and Google Cloud: their tools deploy the zip, these are the words for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from legato.deploy.package.build import Manifest
from legato.deploy.package.shell import quoted, webhook
from legato.deploy.package.target import MB

STORE = "LEGATO_STORE"
USUAL = ("TELEGRAM_SECRET", "TELEGRAM_TOKEN")
"""Secrets of a bot that says nothing else."""
AT_ONCE = int(3.5 * MB)
"""Of a zip that Yandex takes without a bucket (https://yandex.cloud/en/docs/functions/concepts/function, read
2026-11-29)."""


def config_of(
    manifest: Manifest,
    archive: str,
    variables: Mapping[str, str],
    secrets: Sequence[str],
    *,
    zipped: int = 0,
) -> str:
    """A shell script that deploys a package; "" for AWS, which `legato deploy aws` does.

    Args:
        manifest: Of the package.
        archive: Path of the zip.
        variables: Settings that are no secrets.
        secrets: Names of those that are.
        zipped: Bytes of the zip.
    """
    secrets = sorted({*_named(secrets), STORE})  # a database's address holds its password
    if manifest.service == "yandex":
        return _yandex(manifest, archive, variables, secrets, zipped)
    if manifest.service == "google":
        return _google(manifest, archive, variables, secrets)
    return ""


def _named(secrets: Sequence[str]) -> list[str]:
    """Names of the secrets that a bot wants where it is deployed, by those that are set here."""
    found = set(secrets) or set(USUAL)
    if "TELEGRAM_TOKEN" in found:  # whoever is told of the webhook must know its secret
        found |= set(USUAL)
    return sorted(found)


def _yandex(
    manifest: Manifest,
    archive: str,
    variables: Mapping[str, str],
    secrets: Sequence[str],
    zipped: int,
) -> str:
    name = _name(manifest.app)
    large = zipped > AT_ONCE
    lines = [
        "#!/bin/sh",
        "# Deploys to Yandex Cloud Functions. Before it, once: a Lockbox secret with the keys",
        f"# {', '.join(secrets)} (the store is one that the function reaches),",
        "# and a service account with the roles functions.functionInvoker and lockbox.payloadViewer.",
        "set -eu",
        ': "${SERVICE_ACCOUNT_ID:?}" "${LOCKBOX_SECRET_ID:?}"',
        *([': "${BUCKET:?the zip is too large to be sent without one}"'] if large else []),
        *_needed(secrets),
        *([f'yc storage s3 cp {quoted(archive)} "s3://$BUCKET/{name}.zip"'] if large else []),
        f"yc serverless function get {name} >/dev/null 2>&1 || yc serverless function create {name}",
        f"yc serverless function version create --function-name {name} \\",
        f"  --runtime python{manifest.python.replace('.', '')} --entrypoint legato_handler.handler \\",
        "  --memory 256m --execution-timeout 30s --concurrency 1 \\",
        '  --service-account-id "$SERVICE_ACCOUNT_ID" \\',
        *[f"  --environment {quoted(_pair(k, v))} \\" for k, v in sorted(variables.items())],
        *[
            f'  --secret "environment-variable={key},id=$LOCKBOX_SECRET_ID,key={key}" \\'
            for key in secrets
        ],
        f'  --package-bucket-name "$BUCKET" --package-object-name {name}.zip'
        if large
        else f"  --source-path {quoted(archive)}",
        f"yc serverless function allow-unauthenticated-invoke {name}",
        f"yc serverless trigger get {name}-tick >/dev/null 2>&1 ||",
        f"  yc serverless trigger create timer {name}-tick --cron-expression '* * ? * * *' \\",
        f"    --invoke-function-name {name} --payload tick \\",
        '    --invoke-function-service-account-id "$SERVICE_ACCOUNT_ID"',
        f"url=$(yc serverless function get {name} --format json |",
        """  sed -n 's/.*"http_invoke_url": "\\(.*\\)".*/\\1/p')""",
        *_webhook("$url?to=telegram", variables, secrets),
    ]
    return "\n".join(lines) + "\n"


def _google(
    manifest: Manifest, archive: str, variables: Mapping[str, str], secrets: Sequence[str]
) -> str:
    name = _name(manifest.app)
    lines = [
        "#!/bin/sh",
        "# Deploys to Google Cloud Functions. Before it, once: `gcloud secrets create NAME --data-file=-` for",
        f"# {', '.join(secrets)} (the store is one that the function reaches),",
        "# and the role roles/secretmanager.secretAccessor for the function's service account.",
        "set -eu",
        ': "${REGION:?as in europe-west1}"',
        *_needed(secrets),
        "folder=$(mktemp -d)",
        "trap 'rm -rf \"$folder\"' EXIT",
        f'unzip -q {quoted(archive)} -d "$folder"',
        f'gcloud functions deploy {name} --gen2 --region "$REGION" --source "$folder" \\',
        f"  --runtime python{manifest.python.replace('.', '')} --entry-point handler --trigger-http \\",
        "  --allow-unauthenticated --memory 256Mi --timeout 60s --concurrency 1 \\",
        *([f"  --set-env-vars {quoted(_listed(variables))} \\"] if variables else []),
        f"  --set-secrets {','.join(f'{key}={key}:latest' for key in secrets)}",
        f'url=$(gcloud functions describe {name} --gen2 --region "$REGION" --format "value(url)")',
        f'gcloud scheduler jobs describe {name}-tick --location "$REGION" >/dev/null 2>&1 ||',
        f"  gcloud scheduler jobs create http {name}-tick --location \"$REGION\" --schedule '* * * * *' \\",
        '    --uri "$url/tick" --http-method POST',
        *_webhook("$url/telegram", variables, secrets),
    ]
    return "\n".join(lines) + "\n"


def _needed(secrets: Sequence[str]) -> list[str]:
    """Asks at the start for what the webhook is set with at the end."""
    if "TELEGRAM_TOKEN" not in secrets:
        return []
    return [': "${TELEGRAM_TOKEN:?}" "${TELEGRAM_SECRET:?as it is stored, for the webhook}"']


def _webhook(address: str, variables: Mapping[str, str], secrets: Sequence[str]) -> list[str]:
    """Lets Telegram send there."""
    if "TELEGRAM_TOKEN" not in secrets:
        return []
    return webhook(address, variables.get("TELEGRAM_API", ""))


def _pair(name: str, value: str) -> str:
    """As yc takes it: a text with several "=" is split at its commas, if it is not in quotes."""
    pair = f"{name}={value}"
    split = "=" in value and ("," in value or '"' in value)
    return '"' + pair.replace('"', '""') + '"' if split else pair


def _listed(variables: Mapping[str, str]) -> str:
    """As gcloud takes them: between signs that are in none of them (`gcloud topic escaping`)."""
    sign = next(
        each for each in ("|", "::", "@@", "~~~~") if each not in "".join(variables.values())
    )
    return f"^{sign}^{sign.join(f'{name}={value}' for name, value in sorted(variables.items()))}"


def _name(app: str) -> str:
    """A name that both services take."""
    text = "".join(c if c.isascii() and c.isalnum() else "-" for c in app.lower()).strip("-")
    return f"legato-{text or 'bot'}"[:60].rstrip("-")


__all__ = ["USUAL", "config_of"]
