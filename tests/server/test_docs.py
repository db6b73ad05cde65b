"""The page at /docs."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from agentplat.server import docs
from tests.support.api import Api

VOID = {"meta", "input", "br"}


class Reading(HTMLParser):
    """What a page refers to, which anchors it has, and whether its elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert name in ("id", "href", "class", "charset", "name", "content", "lang"), (tag, name)
            if name == "href":
                self.links.append(value or "")
            elif name == "id":
                self.anchors.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: str) -> Reading:
    reading = Reading()
    reading.feed(page)
    assert reading.open == []
    return reading


PAGES = [
    ("/docs", "/openapi.json"),
    ("/redoc", "/openapi.json"),
    ("/external-api/docs", "/external-api/openapi.json"),
    ("/external-api/redoc", "/external-api/openapi.json"),
]


@pytest.mark.parametrize(("path", "document"), PAGES)
async def test_the_page_loads_nothing_and_runs_nothing(api: Api, path: str, document: str) -> None:
    response = await api().get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    reading = read(response.text)
    assert not {"script", "link", "img", "iframe", "form"} & set(reading.tags)
    assert {link for link in reading.links if not link.startswith("#")} == {document}
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert reading.tags.count("style") == 1
    assert re.search(r"<style>(.*?)</style>", response.text, re.DOTALL)[1] == docs.STYLE  # type: ignore[index]


@pytest.mark.parametrize(("path", "address"), PAGES)
async def test_the_page_shows_every_operation_and_every_link_leads_somewhere(api: Api, path: str, address: str) -> None:
    document: Any = (await api().get(address)).json()
    reading = read((await api().get(path)).text)
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert set(ids) < set(reading.anchors)
    assert {link.removeprefix("#") for link in reading.links if link.startswith("#")} <= set(reading.anchors)
    assert len(reading.anchors) == len(set(reading.anchors))


async def test_programs_have_a_document_of_their_own(api: Api) -> None:
    whole, own = [(await api().get(f"{place}/openapi.json")).json() for place in ("", "/external-api")]
    assert own["paths"] == {path: item for path, item in whole["paths"].items() if path.startswith("/external-api/")}
    assert len(own["paths"]) > 5
    assert list(own["components"]["securitySchemes"]) == ["ApiKey"]
    named = set(re.findall(r'"#/components/schemas/(.*?)"', json.dumps(own)))
    assert named == own["components"]["schemas"].keys()
    assert "CreatedApiKey" not in named


def test_text_of_the_document_is_no_html() -> None:
    evil = "<script>alert(1)</script>"
    operation = {
        "operationId": evil,
        "description": evil,
        "parameters": [{"name": evil, "in": "query", "schema": {"type": evil}, "description": evil}],
        "responses": {"200": {"description": evil, "content": {"x": {"schema": {"enum": [evil]}, "example": evil}}}},
    }
    page = docs.page(
        {
            "info": {"title": evil, "version": evil, "description": evil},
            "paths": {f"/{evil}": {"get": operation}},
            "components": {"schemas": {evil: {"type": "object", "properties": {evil: {"const": evil}}}}},
        },
        "/openapi.json",
    )
    assert "script" not in read(page).tags
