"""Typed pins: msgspec structs that also carry what a form needs to know about each field."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, dataclass_transform

import msgspec
from msgspec import NODEFAULT, Struct


class Pin(Struct, frozen=True, kw_only=True):
    """What `field` was told, apart from the default value."""

    title: str | None = None
    description: str | None = None
    placeholder: Any = None
    advanced: bool | None = None
    secret: bool = False
    hidden: bool = False
    depends_on: tuple[str, ...] = ()
    format: str | None = None
    extra: Mapping[str, Any] = {}


class CredentialsPin(Struct, frozen=True, kw_only=True):
    """What `credentials` was told."""

    providers: tuple[str, ...]
    types: tuple[str, ...]
    scopes: tuple[str, ...] = ()
    discriminator: str | None = None
    discriminator_mapping: Mapping[str, str] = {}
    discriminator_values: tuple[str, ...] = ()
    description: str | None = None
    title: str | None = None


class _Declared:
    """A field as it stands in a class body, until the metaclass takes it apart."""

    __slots__ = ("default", "default_factory", "pin")

    def __init__(self, pin: Pin | CredentialsPin, default: Any, default_factory: Any) -> None:
        self.pin = pin
        self.default = default
        self.default_factory = default_factory


def field(
    *,
    default: Any = NODEFAULT,
    default_factory: Callable[[], Any] | Any = NODEFAULT,
    title: str | None = None,
    description: str | None = None,
    placeholder: Any = None,
    advanced: bool | None = None,
    secret: bool = False,
    hidden: bool = False,
    depends_on: tuple[str, ...] = (),
    format: str | None = None,  # noqa: A002 - the JSON Schema keyword
    extra: Mapping[str, Any] | None = None,
) -> Any:
    """Declare a pin together with what a form shows of it.

    A pin without `default` and `default_factory` is required. Lists and objects take `default_factory`, because a
    default value is shared by all executions. `advanced` hides the pin behind "more options"; left out, required pins
    are shown and optional ones are not. `secret` masks the value in forms. `depends_on` names sibling pins that must
    be filled first. `format` is the JSON Schema format of the text. `extra` is added to the pin's schema as it is.
    """
    pin = Pin(
        title=title,
        description=description,
        placeholder=placeholder,
        advanced=advanced,
        secret=secret,
        hidden=hidden,
        depends_on=depends_on,
        format=format,
        extra=extra or {},
    )
    return _Declared(pin, default, default_factory)


def credentials(
    *,
    providers: tuple[str, ...],
    types: tuple[str, ...] = ("api_key",),
    scopes: tuple[str, ...] = (),
    discriminator: str | None = None,
    discriminator_mapping: Mapping[str, str] | None = None,
    discriminator_values: tuple[str, ...] = (),
    title: str | None = None,
    description: str | None = None,
    default: Any = NODEFAULT,
) -> Any:
    """Declare a credentials pin. Annotate it as `CredentialsMeta`, name it `credentials` or `<something>_credentials`.

    The pin's value is only a reference. The credentials themselves arrive as `ctx.credentials["<name of the pin>"]`.
    With several providers, `discriminator` names the pin whose value decides between them, and
    `discriminator_mapping` says how.
    """
    if len(providers) > 1 and not discriminator:
        raise TypeError("credentials of several providers need a discriminator")
    pin = CredentialsPin(
        providers=providers,
        types=types,
        scopes=scopes,
        discriminator=discriminator,
        discriminator_mapping=discriminator_mapping or {},
        discriminator_values=discriminator_values,
        title=title,
        description=description,
    )
    return _Declared(pin, default, NODEFAULT)


# msgspec knows fields by their default value alone, so the rest is moved aside before it sees the class body.
class SchemaMeta(msgspec.StructMeta):
    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], /, **options: Any) -> "SchemaMeta":
        declared = {key: value for key, value in namespace.items() if isinstance(value, _Declared)}
        for key, value in declared.items():
            if value.default_factory is not NODEFAULT:
                namespace[key] = msgspec.field(default_factory=value.default_factory)
            elif value.default is not NODEFAULT:
                namespace[key] = msgspec.field(default=value.default)
            else:
                del namespace[key]
        inherited: dict[str, Pin | CredentialsPin] = {}
        for base in reversed(bases):
            inherited |= getattr(base, "__pins__", {})
        namespace["__pins__"] = inherited | {key: value.pin for key, value in declared.items()}
        options = {"frozen": True, "kw_only": True} | options
        return super().__new__(mcls, name, bases, namespace, **options)


# On the class, not on its metaclass: checkers take what they find first, and `Struct` says otherwise.
@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field, credentials))
class Schema(Struct, metaclass=SchemaMeta, frozen=True, kw_only=True):
    """Base of every block's `Input`, and of outputs without an `error` pin. Frozen, and all fields go by keyword."""

    __pins__: ClassVar[dict[str, Pin | CredentialsPin]]


class OutputSchema(Schema):
    """Base of a block's `Output`: its own pins, and `error`."""

    error: str = field(default="", description="What went wrong, if something did.")
