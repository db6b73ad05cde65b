"""What lists that are read by page numbers answer about themselves, as the contract has it."""

import math

from msgspec import Struct


class Pagination(Struct, frozen=True, kw_only=True):
    """Where a page stands in its list. Pages count from 1; a page past the end is empty."""

    total_items: int
    total_pages: int
    current_page: int
    page_size: int


def page_of(total: int, number: int, size: int) -> Pagination:
    return Pagination(total_items=total, total_pages=math.ceil(total / size), current_page=number, page_size=size)
