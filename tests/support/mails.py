"""What comes back on mails, as others make it."""

import hmac
from base64 import urlsafe_b64encode
from typing import Any

UNSUBSCRIBE_KEY = "what signs links that end mails in tests"
POSTMARK_TOKEN = "what Postmark says in tests"
POSTMARK = {"X-Postmark-Webhook-Token": POSTMARK_TOKEN}


def unsubscribe_token(user_id: str, key: str = UNSUBSCRIBE_KEY) -> str:
    signature = hmac.new(key.encode(), user_id.encode(), "sha256").hexdigest()
    return urlsafe_b64encode(f"{user_id}:{signature}".encode()).decode()


def bounce(address: str, code: int = 1, **members: Any) -> dict[str, Any]:
    """As Postmark sends it; what is in `members` is different."""
    return {
        "RecordType": "Bounce",
        "ID": 692560173,
        "Type": "HardBounce",
        "TypeCode": code,
        "Name": "Hard bounce",
        "Tag": "Invitation",
        "MessageID": "2c1b63fe-43f2-4db5-91b0-8bdfa44a9316",
        "ServerID": 23,
        "MessageStream": "outbound",
        "Description": "The server was unable to deliver your message",
        "Details": "Test bounce details",
        "Email": address,
        "From": "sender@example.com",
        "BouncedAt": "2026-01-16T12:29:05.5018954Z",
        "DumpAvailable": True,
        "Inactive": True,
        "CanActivate": True,
        "Subject": "Test subject",
        "Content": "",
        "Metadata": {"a": "b"},
    } | members


def suppression(address: str, suppressed: bool = True) -> dict[str, Any]:
    return {
        "RecordType": "SubscriptionChange",
        "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
        "ServerID": 123456,
        "MessageStream": "outbound",
        "ChangedAt": "2026-02-01T10:53:34Z",
        "Recipient": address,
        "Origin": "Recipient",
        "SuppressSending": suppressed,
        "SuppressionReason": "ManualSuppression" if suppressed else None,
        "Tag": "welcome-email",
        "Metadata": {},
    }
