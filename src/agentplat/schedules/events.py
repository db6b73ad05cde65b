from msgspec import Struct


class ScheduleMade(Struct, frozen=True, kw_only=True):
    user_id: str
