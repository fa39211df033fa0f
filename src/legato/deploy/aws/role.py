"""What the function may do: exactly what it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from legato.deploy.aws.place import Place
from legato.deploy.aws.sockets import connections

ON_TABLE = (
    "BatchGetItem",
    "BatchWriteItem",
    "DeleteItem",
    "DescribeTable",
    "GetItem",
    "PutItem",
    "Query",
    "UpdateItem",
)
"""What the store asks of its table. A transaction is allowed by what it is made of."""
ON_QUEUE = (
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "ReceiveMessage",
    "SendMessage",
)
"""SendMessage and ChangeMessageVisibility are ours, the others are Lambda's, which reads with the function's role."""

Statement = dict[str, Any]


def role(
    place: Place, *, secrets: bool, queues: Sequence[str], web_socket: bool = False
) -> Statement:
    """The function's role as a resource of a template."""
    statements = [
        _allow("Table", [f"dynamodb:{one}" for one in ON_TABLE], {"Fn::GetAtt": ["Table", "Arn"]}),
        _allow("Indexes", ["dynamodb:Query"], {"Fn::Sub": "${Table.Arn}/index/*"}),
        _allow(
            "Log",
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            {"Fn::GetAtt": ["Logs", "Arn"]},
        ),
    ]
    # A version may call the others: conversations stay with the one that can replay them.
    named = "function:${AWS::StackName}:*"
    where = f"arn:${{AWS::Partition}}:lambda:${{AWS::Region}}:${{AWS::AccountId}}:{named}"
    statements.append(_allow("Versions", ["lambda:InvokeFunction"], {"Fn::Sub": where}))
    if secrets:
        where = f"arn:${{AWS::Partition}}:ssm:${{AWS::Region}}:${{AWS::AccountId}}:parameter{place.parameters}*"
        statements.append(_allow("Secrets", ["ssm:GetParameters"], {"Fn::Sub": where}))
    if web_socket:
        statements.append(_allow("Pages", ["execute-api:ManageConnections"], connections()))
    for name in queues:
        actions = [f"sqs:{one}" for one in ON_QUEUE]
        statements.append(_allow(name, actions, {"Fn::GetAtt": [name, "Arn"]}))
    return assumed("lambda.amazonaws.com", statements)


def assumed(
    service: str, statements: list[Statement], condition: Statement | None = None
) -> Statement:
    """A role that one service takes on."""
    trust: Statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
    }
    if condition is not None:
        trust["Condition"] = condition
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [
                {
                    "PolicyName": "legato",
                    "PolicyDocument": {"Version": "2012-10-17", "Statement": statements},
                }
            ],
        },
    }


def _allow(name: str, actions: list[str], resource: Statement) -> Statement:
    return {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": resource}


__all__ = ["ON_QUEUE", "ON_TABLE", "Statement", "assumed", "role"]
