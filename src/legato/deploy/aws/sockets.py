"""How pages of the web chat come to the function: by a WebSocket API of their own.

The API depends on nothing, so that the function can be told where it is and its role can name it, though the
API's routes end at the function.

Two things are of WebSocket APIs only: a Lambda function is named by the path of its invocations, with the method
POST; and a stage is deployed by itself only where there are routes, so it comes last.
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-apigatewayv2-integration.html
(read 2026-11-29)
"""

from __future__ import annotations

from typing import Any

STAGE = "live"
ROUTES = {"Connect": "$connect", "Disconnect": "$disconnect", "Message": "$default"}
SELECTION = "$request.body.action"
"""By what a route is chosen. No page sends it, so each frame is for $default."""
WHERE = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Socket}/" + STAGE
INVOKES = (
    "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/"
    "${Live}/invocations"
)

Resources = dict[str, Any]


def web_socket() -> Resources:
    """The WebSocket API of a stack."""
    return {
        "Socket": {
            "Type": "AWS::ApiGatewayV2::Api",
            "Properties": {
                "Name": {"Fn::Sub": "${AWS::StackName}-web"},
                "ProtocolType": "WEBSOCKET",
                "RouteSelectionExpression": SELECTION,
            },
        },
        "SocketIntegration": {
            "Type": "AWS::ApiGatewayV2::Integration",
            "Properties": {
                "ApiId": {"Ref": "Socket"},
                "IntegrationType": "AWS_PROXY",
                "IntegrationMethod": "POST",
                "IntegrationUri": {"Fn::Sub": INVOKES},
            },
        },
        **{f"Socket{name}": _route(key) for name, key in ROUTES.items()},
        "SocketStage": {
            "Type": "AWS::ApiGatewayV2::Stage",
            "DependsOn": [f"Socket{name}" for name in ROUTES],
            "Properties": {"ApiId": {"Ref": "Socket"}, "StageName": STAGE, "AutoDeploy": True},
        },
        "SocketPermission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "FunctionName": {"Ref": "Live"},
                "Principal": "apigateway.amazonaws.com",
                "Action": "lambda:InvokeFunction",
                "SourceArn": {"Fn::Sub": f"{WHERE}/*"},
            },
        },
    }


def _route(key: str) -> Resources:
    return {
        "Type": "AWS::ApiGatewayV2::Route",
        "Properties": {
            "ApiId": {"Ref": "Socket"},
            "RouteKey": key,
            "Target": {"Fn::Sub": "integrations/${SocketIntegration}"},
        },
    }


def socket_address(public: str) -> Resources | str:
    """Where pages connect to: the API's own name, or another one, in which "{id}" stands for the API's id."""
    if not public:
        return {
            "Fn::Sub": f"wss://${{Socket}}.execute-api.${{AWS::Region}}.${{AWS::URLSuffix}}/{STAGE}"
        }
    if "{id}" not in public:
        return public
    return {"Fn::Sub": public.replace("${", "${!").replace("{id}", "${Socket}")}


def connections() -> Resources:
    """All connections of the API that may be written to, as a resource of the role."""
    return {"Fn::Sub": f"{WHERE}/POST/@connections/*"}


__all__ = ["connections", "socket_address", "web_socket"]
