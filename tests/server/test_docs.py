"""The page at /docs."""

import re
from html.parser import HTMLParser
from typing import Any

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


async def test_the_page_loads_nothing_and_runs_nothing(api: Api) -> None:
    response = await api().get("/docs")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    reading = read(response.text)
    assert not {"script", "link", "img", "iframe", "form"} & set(reading.tags)
    assert {link for link in reading.links if not link.startswith("#")} == {"/openapi.json"}
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert reading.tags.count("style") == 1
    assert re.search(r"<style>(.*?)</style>", response.text, re.DOTALL)[1] == docs.STYLE  # type: ignore[index]


async def test_the_page_shows_every_operation_and_every_link_leads_somewhere(api: Api) -> None:
    document: Any = (await api().get("/openapi.json")).json()
    reading = read((await api().get("/docs")).text)
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert set(ids) < set(reading.anchors)
    assert {link.removeprefix("#") for link in reading.links if link.startswith("#")} <= set(reading.anchors)
    assert len(reading.anchors) == len(set(reading.anchors))


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
        }
    )
    assert "script" not in read(page).tags
