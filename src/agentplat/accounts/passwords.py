"""Passwords: argon2id, in threads of their own.

Hashing is meant to cost time and memory, so it must neither hold up the event loop nor be had without limit: two at a
time use two cores at most and 40 MB, and who would have to wait long is sent away.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from agentplat.accounts.errors import PasswordWeak, SignInBusy

T = TypeVar("T")

SHORTEST, LONGEST = 8, 256
AT_ONCE = 2
MOST_WAITING = 64

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="argon2")
_waiting = 0


@cache
def _nobodys() -> str:
    return _hasher.hash("the password of users that there are not")


def check(password: str) -> None:
    """Refuse what is no password for a new account. Length is what counts against guessing."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise PasswordWeak(f"A password has {SHORTEST} to {LONGEST} characters")


async def hashed(password: str) -> str:
    return await _run(lambda: _hasher.hash(password))


async def matches(known: str | None, password: str) -> bool:
    """Whether it is the password. Takes the same time when there is none, so that nobody learns who has an account."""
    found = await _run(lambda: _matches(known or _nobodys(), password))
    return found and known is not None


def is_dated(known: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(known)


def _matches(known: str, password: str) -> bool:
    try:
        return len(password) <= LONGEST and _hasher.verify(known, password)
    except (VerificationError, InvalidHashError):
        return False


async def _run(work: Callable[[], T]) -> T:
    global _waiting
    if _waiting >= MOST_WAITING:
        raise SignInBusy
    _waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, work)
    finally:
        _waiting -= 1
