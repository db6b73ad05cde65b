"""How a handler tells the OpenAPI document of an answer that is a refusal of its own: `responses={409: refusal("…")}`.

What any operation of its kind may answer (no token, no such id, not the expected form, …) is told in one place,
`src/agentplat/server/openapi.py`.
"""

from litestar.openapi import ResponseSpec


def refusal(description: str) -> ResponseSpec:
    return ResponseSpec(data_container=None, description=description, generate_examples=False)
