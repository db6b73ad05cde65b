"""The platform that a command works with: a given one, the one that runs on this home, or one started for it."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from agentplat.cli.supervisor import Platform, free_port, running
from agentplat.cli.token import development_token
from agentplat.embedded import HomeInUse
from agentplat.infra.settings import Settings

EMAIL = "you@example.com"
FAKE_LLM = "No OPENAI_API_KEY is set: LLM blocks are answered by the built-in fake model."


class Target(Struct, frozen=True, kw_only=True):
    """`started`: for this command alone, and gone with it. `fake_llm`: known to answer LLM blocks by itself."""

    url: str
    token: str
    started: bool
    fake_llm: bool = False


@contextmanager
def target(settings: Settings, url: str | None, token: str | None, say: Callable[[str], None]) -> Iterator[Target]:
    """`say` is told, in sentences, what is being done."""
    if url is None and (state := running(settings)) is not None:
        url = state.url
        say(f"Using the platform that runs at {url}.")
    if url is not None:
        yield Target(url=url, token=token or development_token(EMAIL), started=False)
        return
    with started_target(settings, say) as own:
        yield own


@contextmanager
def started_target(settings: Settings, say: Callable[[str], None]) -> Iterator[Target]:
    """A platform of this command's own, on a free port, with its logs in the home."""
    fake_llm = not (settings.openai_api_key or settings.openai_base_url)
    if fake_llm:
        say(FAKE_LLM)
    with ExitStack() as stack:
        try:
            platform = stack.enter_context(_platform(settings, fake_llm, say))
        except HomeInUse:
            # Another command has started one for itself, which is not for us: it ends with that command.
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agentplat-")))
            say(f"{settings.home} is in use; this platform lives in {home} and is deleted afterwards.")
            platform = stack.enter_context(_platform(replace(settings, home=home), fake_llm, say))
        yield Target(url=platform.url, token=development_token(EMAIL), started=True, fake_llm=fake_llm)


def _platform(settings: Settings, fake_llm: bool, say: Callable[[str], None]) -> Platform:
    own = replace(settings, host="127.0.0.1", port=free_port())
    return Platform(own, fake_llm=fake_llm, quiet=True, progress=lambda text: say(f"{text} ..."), announce=False)
