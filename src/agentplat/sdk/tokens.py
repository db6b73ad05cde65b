"""Counting tokens, with the vocabulary of gpt-4o (o200k_base) whatever the model."""

from functools import cache
from typing import Any


def count(text: str) -> int:
    """How many tokens a text has."""
    return int(_encoding().count(text))


@cache
def _encoding() -> Any:
    # The vocabulary is part of the extension module: nothing is fetched, but loading it takes a tenth of a second.
    from rs_bpe.bpe import openai

    return openai.o200k_base()
