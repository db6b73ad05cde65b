"""Links that end mails, and what Postmark tells of mails."""

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.mails import POSTMARK, bounce, suppression, unsubscribe_token
from tests.support.sign_in import answer
from tests.support.switches import environment_of

EMAIL = "/api/email/"
UNSUBSCRIBE = "/api/email/unsubscribe"


@pytest.fixture
async def ann(api: Api) -> Any:
    """Ann, who is somebody already, and so is Bob."""
    client = api("ann")
    for one in (client, api("bob")):
        await answer(one.post("/api/auth/user"))
    return client


async def wanted(client: Any) -> set[str]:
    preferences = (await answer(client.get("/api/auth/user/preferences")))["preferences"]
    return {kind for kind, wants in preferences.items() if wants}


async def is_verified(client: Any) -> bool:
    verified: bool = (await answer(client.post("/api/auth/user")))["email_verified"]
    return verified


async def test_a_link_ends_all_mails(api: Api, ann: Any) -> None:
    limit = {"email": "ann@example.com", "preferences": {"AGENT_RUN": True}, "daily_limit": 7}
    await answer(ann.post("/api/auth/user/preferences", json=limit))
    for token in (unsubscribe_token("ann"), unsubscribe_token("ann"), unsubscribe_token("ann").rstrip("=")):
        # The body is what mail programs send with one click.
        one_click = api().post(UNSUBSCRIBE, params={"token": token}, data={"List-Unsubscribe": "One-Click"})
        assert await answer(one_click) == {"status": "ok"}
        assert await wanted(ann) == set()
    assert (await answer(ann.get("/api/auth/user/preferences")))["daily_limit"] == 7
    assert len(await wanted(api("bob"))) == 10
    # Nobody by now.
    assert await answer(api().post(UNSUBSCRIBE, params={"token": unsubscribe_token("é:gone")})) == {"status": "ok"}


@pytest.mark.parametrize(
    "token",
    [
        "",
        "ann",
        "YW5u",
        "é",
        "YW5uOsOp",  # ann:é
        "/w==",
        "\0",
        unsubscribe_token("ann", key="another key"),
        unsubscribe_token("ann", key=""),
        unsubscribe_token("ann")[:-4],
        unsubscribe_token("ann") + "x",
        unsubscribe_token("ann").swapcase(),
    ],
)
async def test_other_links_end_nothing(api: Api, ann: Any, token: str) -> None:
    response = await api().post(UNSUBSCRIBE, params={"token": token})
    assert (response.status_code, response.json()["code"]) == (400, "unsubscribe_token_invalid")
    assert len(await wanted(ann)) == 10


async def test_a_link_needs_its_token(api: Api) -> None:
    response = await api().post(UNSUBSCRIBE)
    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["query", "token"])


async def test_without_a_secret_nobody_makes_tokens(api: Api, ann: Any) -> None:
    with environment_of(UNSUBSCRIBE_SECRET_KEY=""):
        response = await api().post(UNSUBSCRIBE, params={"token": unsubscribe_token("ann", key="")})
    assert (response.status_code, len(await wanted(ann))) == (400, 10)


# --- Postmark


@pytest.mark.parametrize("given", [None, b"", b"another", "é".encode()])
async def test_nobody_else_is_postmark(api: Api, ann: Any, given: bytes | None) -> None:
    headers = {} if given is None else {"X-Postmark-Webhook-Token": given}
    # What the body is, is nobody's business who is not Postmark. Neither is a user's token one of Postmark's.
    for client, sent in ((api(), {"json": bounce("ann@example.com")}), (ann, {"content": b"{"})):
        response = await client.post(EMAIL, headers=headers, **sent)
        assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
    assert await is_verified(ann)


async def test_without_a_token_of_its_own_nobody_is_postmark(api: Api) -> None:
    with environment_of(POSTMARK_WEBHOOK_TOKEN=""):
        for headers in ({}, {"X-Postmark-Webhook-Token": ""}, POSTMARK):
            response = await api().post(EMAIL, json=bounce("ann@example.com"), headers=headers)
            assert (response.status_code, response.json()["code"]) == (503, "misconfigured")


@pytest.mark.parametrize(
    ("code", "verified"), [(1, False), (512, False), (100010, False), (2, True), (256, True), (4096, True)]
)
async def test_an_address_that_bounces_is_not_verified(api: Api, ann: Any, code: int, verified: bool) -> None:
    for _ in range(2):
        await answer(api().post(EMAIL, json=bounce("Ann@Example.com", code), headers=POSTMARK))
        assert await is_verified(ann) == verified
    assert await is_verified(api("bob"))
    assert len(await wanted(ann)) == 10


@pytest.mark.parametrize(
    ("event", "kinds"),
    [
        (bounce("ann@example.com", 512, RecordType="SpamComplaint"), 0),
        (suppression("ann@example.com"), 0),
        (suppression("ann@example.com", suppressed=False), 10),
        ({"RecordType": "Delivery", "Recipient": "ann@example.com", "Metadata": {}}, 10),
        ({"RecordType": "Open", "Recipient": "ann@example.com", "FirstOpen": True, "Geo": {}, "OS": None}, 10),
        ({"RecordType": "Click", "Recipient": "ann@example.com", "OriginalLink": "https://example.com", "New": 1}, 10),
    ],
)
async def test_who_complains_gets_no_more_mails(api: Api, ann: Any, event: Any, kinds: int) -> None:
    await answer(api().post("/api/email", json=event, headers=POSTMARK))
    assert len(await wanted(ann)) == kinds
    assert await is_verified(ann)
    assert len(await wanted(api("bob"))) == 10


async def test_an_address_that_nobody_has_is_no_error(api: Api) -> None:
    for event in (bounce("nobody@example.com"), suppression("")):
        await answer(api().post(EMAIL, json=event, headers=POSTMARK))


@pytest.mark.parametrize(
    ("event", "place"),
    [
        ({}, "RecordType"),
        ({"RecordType": "Inbound"}, "RecordType"),
        ({"RecordType": 1}, "RecordType"),
        (bounce("ann@example.com", 3), "TypeCode"),
        (bounce("ann@example.com", TypeCode="1"), "TypeCode"),
        ({"RecordType": "Bounce", "Email": "ann@example.com"}, "TypeCode"),
        ({"RecordType": "Bounce", "TypeCode": 1}, "Email"),
        ({"RecordType": "SpamComplaint"}, "Email"),
        ({"RecordType": "SubscriptionChange", "SuppressSending": True}, "Recipient"),
        ({"RecordType": "SubscriptionChange", "Recipient": "ann@example.com"}, "SuppressSending"),
    ],
)
async def test_an_event_that_cannot_be_is_refused(api: Api, ann: Any, event: Any, place: str) -> None:
    response = await api().post(EMAIL, json=event, headers=POSTMARK)
    assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", place])
    assert (await is_verified(ann), len(await wanted(ann))) == (True, 10)
