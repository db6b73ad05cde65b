"""What clients report about their use."""

from typing import Annotated, Any

from msgspec import Meta, Struct

# Postgres stores every character but this one.
Text = Annotated[str, Meta(pattern=r"^[^\x00]*$", max_length=10_000)]
SomeText = Annotated[str, Meta(pattern=r"^[^\x00]+$", max_length=10_000)]


class Metric(Struct, frozen=True, kw_only=True):
    metric_name: SomeText
    metric_value: Annotated[float, Meta(ge=0)]
    data_string: SomeText


class Detail(Struct, frozen=True, kw_only=True):
    """`data_index` is what clients want to find it by."""

    type: Text
    data: dict[str, Any]
    data_index: Text
