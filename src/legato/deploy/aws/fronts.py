"""How requests come to the function: by its own address, or by an HTTP API.

Both are open to everybody: a platform cannot sign for AWS. The function checks each request itself.

A function's address needs two permissions since October 2025: lambda:InvokeFunctionUrl, and
lambda:InvokeFunction for calls that come by an address. With one of them alone every request is a 403.
https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html (read 2026-11-29)
"""

from __future__ import annotations

from typing import Any

from legato.deploy.aws.place import ALIAS

Resources = dict[str, Any]


def function_url() -> tuple[Resources, Any]:
    """Resources, and the address as an output."""
    permission = {"FunctionName": {"Ref": "Live"}, "Principal": "*"}
    resources = {
        "Url": {
            "Type": "AWS::Lambda::Url",
            "DependsOn": "Live",
            "Properties": {
                "AuthType": "NONE",
                "InvokeMode": "BUFFERED",
                "TargetFunctionArn": {"Ref": "Function"},
                "Qualifier": ALIAS,
            },
        },
        "UrlPermission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": permission
            | {"Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"},
        },
        "UrlInvokePermission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": permission
            | {"Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True},
        },
    }
    return resources, {"Fn::GetAtt": ["Url", "FunctionUrl"]}


def http_api() -> tuple[Resources, Any]:
    """The same by an API Gateway: for a domain of your own, or a firewall before it. It cuts at 30 s."""
    source = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/*/*"
    resources = {
        "Api": {
            "Type": "AWS::ApiGatewayV2::Api",
            "Properties": {"Name": {"Ref": "AWS::StackName"}, "ProtocolType": "HTTP"},
        },
        "ApiIntegration": {
            "Type": "AWS::ApiGatewayV2::Integration",
            "Properties": {
                "ApiId": {"Ref": "Api"},
                "IntegrationType": "AWS_PROXY",
                "IntegrationUri": {"Ref": "Live"},
                "PayloadFormatVersion": "2.0",
            },
        },
        "ApiRoute": {
            "Type": "AWS::ApiGatewayV2::Route",
            "Properties": {
                "ApiId": {"Ref": "Api"},
                "RouteKey": "POST /{platform}",
                "Target": {"Fn::Sub": "integrations/${ApiIntegration}"},
            },
        },
        "ApiStage": {
            "Type": "AWS::ApiGatewayV2::Stage",
            "Properties": {"ApiId": {"Ref": "Api"}, "StageName": "$default", "AutoDeploy": True},
        },
        "ApiPermission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "FunctionName": {"Ref": "Live"},
                "Principal": "apigateway.amazonaws.com",
                "Action": "lambda:InvokeFunction",
                "SourceArn": {"Fn::Sub": source},
            },
        },
    }
    return resources, {"Fn::GetAtt": ["Api", "ApiEndpoint"]}


def pages() -> Resources:
    """What the web chat's page takes of an HTTP API: itself and its files."""
    return {
        f"Api{name}Route": {
            "Type": "AWS::ApiGatewayV2::Route",
            "Properties": {
                "ApiId": {"Ref": "Api"},
                "RouteKey": f"GET {path}",
                "Target": {"Fn::Sub": "integrations/${ApiIntegration}"},
            },
        }
        for name, path in (("Page", "/"), ("File", "/web/{file}"))
    }


__all__ = ["function_url", "http_api", "pages"]
