"""What an application declares about resources and their methods.

Rule 1: what is declared is checked when it is declared, not when a request comes.  Rule 2: who declares nothing pays
nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypedDict

from trio_coap.server.observable import NotificationPolicy
from trio_coap.server.results import HandlerResult
from trio_coap.wire.contentformats import content_format_of
from trio_coap.wire.linkformat import AttributeValues
from trio_coap.wire.options import OptionName

Result = HandlerResult | Awaitable[HandlerResult]

ResourceHandler = Callable[..., Result]
"""Takes the request, and the parameters of its path by name."""

ETagFunction = Callable[..., "bytes | Awaitable[bytes | None] | None"]
"""Takes what a handler takes, and returns the ETag of the resource as it is now; ``b""`` if it has none, and None if it
does not exist."""

ContentFormats = str | int | Iterable[str | int]
"""One content format or several, each as :func:`content_format_of` takes it."""


class MethodDeclarations(TypedDict, total=False):
    """What can be declared about one method of a resource."""

    understands: Iterable[OptionName]
    """The critical options that the handler processes itself, such as ``["If-Match"]``; a request with one that nobody
    processes is answered with 4.02 (:rfc:`7252` section 5.4.1)."""

    produces: ContentFormats
    """The formats that the handler can answer in, the preferred one first.  Accept picks one of them, and if none
    fits, the answer is 4.06 (:rfc:`7252` section 5.10.4); the one that is picked stands in ``request.options.accept``
    if there are several.  A success without Content-Format gets it."""

    consumes: ContentFormats
    """The formats that the handler takes.  Another Content-Format is answered with 4.15 (:rfc:`7252` section 5.9.2.8),
    a payload without one with 4.00."""


class ResourceDeclarations(TypedDict, total=False):
    """What can be declared about a resource."""

    observable: bool | NotificationPolicy
    """Whether clients may observe it (:rfc:`7641`), and how they are notified; what has been declared as observable
    stays so."""

    etag: bool | ETagFunction
    """True to have an ETag made of each representation; or a function that takes what a handler takes, plain or async,
    and returns the ETag of the resource as it is now, or None if it does not exist.  If-Match and If-None-Match
    are processed then (:rfc:`7252` section 5.10.8)."""

    rt: str | Iterable[str]
    """Resource types (:rfc:`6690` section 3.1)."""

    if_: str | Iterable[str]
    """Interface descriptions, the attribute ``if`` (:rfc:`6690` section 3.2)."""

    title: str
    """For people to read."""

    sz: int
    """The size of its largest representation to expect, in octets (:rfc:`6690` section 3.3)."""

    ct: ContentFormats
    """The content formats (:rfc:`7252` section 7.2.1); by default those that GET produces."""

    attributes: Mapping[str, AttributeValues]
    """Further target attributes."""

    is_listed: bool
    """False to leave it out of ``/.well-known/core``."""

    answers_groups: bool
    """False for a resource that requests to a group do not reach (:rfc:`7252` section 8.2); by default they do."""


class Declarations(MethodDeclarations, ResourceDeclarations, total=False):
    """What :meth:`Site.get` and its sisters take: about the method, and about the resource."""


def formats_of(declared: ContentFormats) -> tuple[int, ...]:
    """Return the numbers of content formats, each once.

    Raises:
      UnknownContentFormat: if one of them is not known.
    """
    several = (declared,) if isinstance(declared, (str, int)) else declared
    return tuple(dict.fromkeys([content_format_of(one) for one in several]))


def split_declarations(declarations: Mapping[str, Any]) -> tuple[MethodDeclarations, ResourceDeclarations]:
    """Return what is about the method, and what is about the resource.

    Raises:
      TypeError: for a name that is neither.
    """
    of_method, of_resource = MethodDeclarations(), ResourceDeclarations()
    for name, value in declarations.items():
        if name in OF_METHODS:
            of_method[name] = value  # type: ignore[literal-required]
        else:
            of_resource[name] = value  # type: ignore[literal-required]
    check_names(of_resource, OF_RESOURCES, OF_METHODS)
    return of_method, of_resource


OF_METHODS = frozenset(MethodDeclarations.__optional_keys__)
OF_RESOURCES = frozenset(ResourceDeclarations.__optional_keys__)


def check_names(declarations: Mapping[str, object], *allowed: frozenset[str]) -> None:
    """Refuse a name that is not *allowed*: nothing else looks at the names when a program runs.

    Raises:
      TypeError: for such a name.
    """
    names = sorted(frozenset().union(*allowed))
    for name in declarations:
        if name not in names:
            raise TypeError(f"there is no declaration {name!r} here; there are {', '.join(names)}")
