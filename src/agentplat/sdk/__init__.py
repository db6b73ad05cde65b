"""Everything a block author needs: see `Block` for an example."""

from agentplat.sdk import convert, templates, tokens
from agentplat.sdk.block import Block, Outputs
from agentplat.sdk.categories import Category
from agentplat.sdk.context import Context, Files, NodeStats, Services
from agentplat.sdk.errors import BlockError
from agentplat.sdk.schema import OutputSchema, Schema, credentials, field
from agentplat.sdk.secrets import (
    ApiKeyCredentials,
    Credentials,
    CredentialsMeta,
    HostCredentials,
    OAuth2Credentials,
    PasswordCredentials,
    Secret,
)
from agentplat.sdk.spec import BlockSpec, BlockType, CostEntry, CredentialsSpec, PinSpec, WebhookSpec
from agentplat.sdk.tools import Tool, ToolPin

__all__ = [
    "ApiKeyCredentials",
    "Block",
    "BlockError",
    "BlockSpec",
    "BlockType",
    "Category",
    "Context",
    "CostEntry",
    "Credentials",
    "CredentialsMeta",
    "CredentialsSpec",
    "Files",
    "HostCredentials",
    "NodeStats",
    "OAuth2Credentials",
    "OutputSchema",
    "Outputs",
    "PasswordCredentials",
    "PinSpec",
    "Schema",
    "Secret",
    "Services",
    "Tool",
    "ToolPin",
    "WebhookSpec",
    "convert",
    "credentials",
    "field",
    "templates",
    "tokens",
]
