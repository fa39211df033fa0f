"""`legato deploy aws --eject`: the same for the AWS CLI, left to the user. AWS is not asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from legato.deploy.aws.deploying import Plan, Say, wanted_of, with_secret
from legato.deploy.aws.template import template, text_of
from legato.deploy.package.archive import writing
from legato.deploy.package.build import build
from legato.deploy.package.carried import carried
from legato.deploy.package.configs import USUAL
from legato.deploy.package.shell import quoted, webhook

SECRETS = "LEGATO_SECRETS"


def eject(plan: Plan, folder: Path, say: Say, region: str = "") -> None:
    """Writes template, zip and the commands for them into a folder.

    Args:
        plan: What is to be deployed.
        folder: Made if it is missing.
        say: Told what was written.
        region: The script's, where REGION is not set; "" = the AWS CLI's own.

    Raises:
        ConfigError: It cannot be made, or not be written.
    """
    made = build(plan.entry, plan.target)
    settings = with_secret(plan.settings)
    _, secret = carried(settings)
    names = sorted(secret | plan.secrets)
    if not secret and not settings.twitch_client_id and not plan.web_socket:
        names = sorted({*names, *USUAL})  # they are set where the script runs
    wanted = wanted_of(plan, made.sha256, settings, dict.fromkeys(names, 1))
    found = with_versions(template(wanted), names)
    script = folder / "deploy.sh"
    lines = _script(plan, made.sha256, names, wanted.variables, region)
    with writing():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bot.zip").write_bytes(made.archive)
        (folder / "template.json").write_text(text_of(found), encoding="utf-8")
        script.write_text("\n".join(lines) + "\n", encoding="utf-8")
        script.chmod(0o755)
    say(f"{folder}: template.json, bot.zip, deploy.sh")


def with_versions(found: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The template with the version of each secret as a parameter: a secret that the script has changed is a change
    of the function, and so a version of its own.
    """
    resources, parameters = found["Resources"], found["Parameters"]
    for number, name in enumerate(names, 1):
        parameters[f"Secret{number}"] = {
            "Type": "Number",
            "Default": 1,
            "Description": f"The version of {name} in Parameter Store",
        }
    if names:
        numbers = [f"${{Secret{number}}}" for number in range(1, len(names) + 1)]
        pairs = zip(names, numbers, strict=True)
        variables = resources["Function"]["Properties"]["Environment"]["Variables"]
        variables[SECRETS] = {"Fn::Sub": ",".join(f"{name}:{which}" for name, which in pairs)}
        (version,) = [each for each in resources.values() if each["Type"] == "AWS::Lambda::Version"]
        said = version["Properties"]["Description"]
        version["Properties"]["Description"] = {"Fn::Sub": f"{said[:200]} {'.'.join(numbers)}"}
    return found


# -- the script ------------------------------------------------------------------------------------

KEEP = """\
keep() { # stores a secret if it is another one, and says its version
  name={parameters}$1
  old=$(aws ssm get-parameter --region "$REGION" --name "$name" --with-decryption \\
    --query Parameter.Value --output text 2>/dev/null) || old=
  if [ "$old" != "$2" ]; then
    printf %s "$2" | aws ssm put-parameter --region "$REGION" --name "$name" --type SecureString \\
      --overwrite --value file:///dev/stdin >/dev/null || return 1
  fi
  aws ssm get-parameter --region "$REGION" --name "$name" --query Parameter.Version --output text
}"""


def _script(
    plan: Plan,
    sha256: str,
    names: Sequence[str],
    variables: Mapping[str, str],
    region: str,
) -> list[str]:
    place = plan.place
    wanted = ['"${BUCKET:?a bucket for the zip, in this region}"']
    wanted += [f'"${{{name}:?}}"' for name in names]
    lines = [
        "#!/bin/sh",
        "# What `legato deploy aws` does, by the AWS CLI. Secrets are read from the environment.",
        "set -eu",
        'cd "$(dirname "$0")"',
        f"REGION=${{REGION:-{region or '$(aws configure get region)'}}}",
        *([f"BUCKET=${{BUCKET:-{plan.bucket}}}"] if plan.bucket else []),
        f": {' '.join(wanted)}",
    ]
    if names:
        lines.append(KEEP.replace("{parameters}", place.parameters))
    lines += [f'secret{number}=$(keep {name} "${name}")' for number, name in enumerate(names, 1)]
    key = place.key(sha256)
    given = ['CodeBucket="$BUCKET"', f"CodeKey={key}"]
    given += [f'Secret{number}="$secret{number}"' for number in range(1, len(names) + 1)]
    lines += [
        f'aws s3 cp --region "$REGION" bot.zip "s3://$BUCKET/{key}"',
        f'aws cloudformation deploy --region "$REGION" --stack-name {place.stack} \\',
        "  --template-file template.json --capabilities CAPABILITY_IAM --no-fail-on-empty-changeset \\",
        f"  --tags legato:bot={place.name} \\",
        f"  --parameter-overrides {' '.join(given)}",
        f'url=$(aws cloudformation describe-stacks --region "$REGION" --stack-name {place.stack} \\',
        "  --query \"Stacks[0].Outputs[?OutputKey=='Url'].OutputValue\" --output text)",
    ]
    lines += _base(plan.public_url)
    if "TELEGRAM_TOKEN" in names:
        lines += webhook("$base/telegram", variables.get("TELEGRAM_API", ""))
    lines.append('echo "web chat: $base/"' if plan.web_socket else 'echo "$base"')
    return lines


def _base(public_url: str) -> list[str]:
    """Where platforms send to: the function's own address, or one before it."""
    if not public_url:
        return ["base=${url%/}"]
    label = ["id=${url#*://}", "id=${id%%.*}"] if "{id}" in public_url else []
    return [*label, "base=" + quoted(public_url.rstrip("/")).replace("{id}", "'\"$id\"'")]


__all__ = ["eject", "with_versions"]
