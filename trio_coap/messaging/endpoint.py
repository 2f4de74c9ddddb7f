"""Endpoints: who takes part in the protocol, by address, port and security mode (:rfc:`7252` section 1.2).

Rule 1: there is one object for a key as long as somebody holds it; the registry does not hold it.  Rule 2:
everything but :meth:`Endpoint.resolve` is synchronous and asks nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from socket import AF_INET6, AF_UNSPEC
from typing import Any, ClassVar, Self
from weakref import WeakValueDictionary

from trio_coap.messaging.addresses import SocketAddress, canonical_address, is_group, is_link_local, is_loopback
from trio_coap.wire.codes import CON, NON, Code
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Message, Request
from trio_coap.wire.options import Options
from trio_coap.wire.uri import CoapUri, compose_uri, parse_uri, resolve_reference

COAP_PORT = 5683
"""The default port of ``coap`` (:rfc:`7252` section 6.1)."""

COAPS_PORT = 5684
"""The default port of ``coaps`` (:rfc:`7252` section 6.2)."""

SockAddr = tuple[Any, ...]
"""A socket address as Python's socket module has it; host and port come first."""

Resolver = Callable[[str, int, int], Awaitable[Sequence[SockAddr]]]
"""Asks for the socket addresses of (host, port, family), the preferred one first."""


class Endpoint:
    """An endpoint of CoAP.

    Constructing one twice gives the same object, as long as it lives; hence endpoints compare by identity.
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_key",
        "hostinfo",
        "in_addr",
        "is_loopback",
        "is_multicast",
        "security_mode",
        "sockaddr",
    )

    _address: SocketAddress
    _key: Hashable
    _registry: ClassVar[WeakValueDictionary[Hashable, Endpoint]] = WeakValueDictionary()
    _resolver: ClassVar[Resolver | None] = None

    sockaddr: tuple[str, int] | tuple[str, int, int, int]
    """(host, port), of IPv6 (host, port, flowinfo, scope id); the host is numeric, or a name if family is None."""

    in_addr: bytes | str
    """The address in network byte order, or the name if family is None."""

    security_mode: str | None
    """None without security; otherwise how messages are protected."""

    hostinfo: str
    """The authority component of URIs at this endpoint; the port only where it is not the default."""

    is_multicast: bool
    """Whether the address is that of a group."""

    is_loopback: bool
    """Whether the address is this host's own, which nobody can send from elsewhere (127.0.0.0/8, ``::1``)."""

    def __new__(
        cls,
        sockaddr: SockAddr | None = None,
        family: int | None = AF_UNSPEC,
        security_mode: str | None = None,
        host: str | None = None,
        port: int = COAP_PORT,
        **options: object,
    ) -> Self:
        """Return the endpoint at this address.

        Args:
          sockaddr: a tuple of host, port and for IPv6 flowinfo and scope id; it overrides *host* and *port*.
          family: AF_INET, AF_INET6, AF_UNSPEC for either; None if the host is a name that is not to be resolved.
          security_mode: None without security.
          host: a numeric address; IPv6 possibly with a numeric zone.
          port: the transport-layer port.
          options: for subclasses.

        Raises:
          LocalProtocolError: if the host is a name (``await Endpoint.resolve()`` is for those), or
            not of that family.
        """
        address = cls._canonical_sockinfo(sockaddr, family, security_mode, host, port)
        key = (cls._realm(options), address, security_mode)
        known = cls._registry.get(key)
        if known is not None:
            assert isinstance(known, cls)
            return known
        endpoint = super().__new__(cls)
        endpoint._address = address
        endpoint._key = key
        endpoint.security_mode = security_mode
        endpoint.sockaddr = address.sockaddr
        endpoint.in_addr = address.in_addr
        endpoint.is_multicast = isinstance(endpoint.in_addr, bytes) and is_group(endpoint.in_addr)
        endpoint.is_loopback = isinstance(endpoint.in_addr, bytes) and is_loopback(endpoint.in_addr)
        is_default_port = address.port == (COAP_PORT if security_mode is None else COAPS_PORT)
        endpoint.hostinfo = endpoint.uri_host if is_default_port else f"{endpoint.uri_host}:{address.port}"
        if address.port:  # Port 0 stands for one that the kernel has yet to choose.
            cls._registry[key] = endpoint
        endpoint._reset()
        return endpoint

    @classmethod
    def lookup_endpoint(
        cls,
        sockaddr: SockAddr | None = None,
        family: int | None = AF_UNSPEC,
        security_mode: str | None = None,
        host: str | None = None,
        port: int = COAP_PORT,
    ) -> Self | None:
        """Return the endpoint that the constructor would return if it exists already, else None."""
        address = cls._canonical_sockinfo(sockaddr, family, security_mode, host, port)
        known = cls._registry.get((cls._realm({}), address, security_mode))
        return known if isinstance(known, cls) else None

    @classmethod
    async def resolve(
        cls,
        host: str,
        port: int = COAP_PORT,
        *,
        family: int = AF_UNSPEC,
        security_mode: str | None = None,
        resolver: Resolver | None = None,
    ) -> tuple[Endpoint, ...]:
        """Ask the resolver for the endpoints that *host* stands for, the preferred one first.

        Cancelling gives up waiting for the resolver.

        Args:
          host: a name, or a numeric address, possibly with the name of a zone (``fe80::1%eth0``).
          port: the transport-layer port.
          family: AF_INET, AF_INET6, or AF_UNSPEC for both.
          security_mode: of the endpoints.
          resolver: whom to ask; by default Trio's resolver, which needs no thread for numeric addresses.

        Raises:
          OSError: socket.gaierror, if the name does not resolve.
        """
        resolver = resolver or cls._resolver
        if resolver is None:
            raise LocalProtocolError("there is no resolver; import trio_coap.transports, or give one")
        addresses = await resolver(host, port, family)
        # An address may come twice, as itself and IPv4-mapped; a dict keeps the order.
        return tuple(dict.fromkeys(Endpoint(sockaddr, security_mode=security_mode) for sockaddr in addresses))

    @classmethod
    def set_resolver(cls, resolver: Resolver) -> None:
        """Make *resolver* the one that :meth:`resolve` asks; the drivers do so."""
        Endpoint._resolver = staticmethod(resolver)

    @property
    def family(self) -> int | None:
        """AF_INET, AF_INET6, or None if the host is a name."""
        return self._address.family

    @property
    def port(self) -> int:
        """The transport-layer port."""
        return self._address.port

    @property
    def scope_id(self) -> int:
        """The interface index that belongs to a link-local or group address; 0 for none."""
        return self._address.scope_id

    @property
    def is_link_local(self) -> bool:
        """Whether the address means something on one link only (fe80::/10)."""
        return isinstance(self.in_addr, bytes) and is_link_local(self.in_addr)

    @property
    def is_unspecified(self) -> bool:
        """Whether the address is ``::`` or ``0.0.0.0``: all addresses of this host, and nobody to send to."""
        return isinstance(self.in_addr, bytes) and not any(self.in_addr)

    @property
    def scheme(self) -> str:
        """``coaps`` with a security mode, ``coap`` without."""
        return "coap" if self.security_mode is None else "coaps"

    @property
    def uri(self) -> str:
        """Scheme and authority, such as ``coap://[2001:db8::1]``."""
        return f"{self.scheme}://{self.hostinfo}"

    @property
    def base_uri(self) -> str:
        """The base URI of the resources at this endpoint: what relative URIs are relative to."""
        return self.uri

    @property
    def uri_host(self) -> str:
        """The host in URIs of this endpoint: an IPv4 address, or an IPv6 address in brackets, or the name."""
        return f"[{self._address.literal.replace('%', '%25')}]" if self.family == AF_INET6 else self._address.host

    def get_peer_endpoint(
        self, sockaddr: SockAddr | None = None, host: str | None = None, port: int = COAP_PORT
    ) -> Endpoint:
        """Return the endpoint at *sockaddr*, or *host* and *port*, that this one can talk to.

        It has the same security mode; its family is None where ours is.
        """
        family = None if self.family is None else AF_UNSPEC
        return Endpoint(sockaddr, family, self.security_mode, host, port)

    def is_same_host(self, host: str) -> bool:
        """Return whether *host*, an IP literal with or without brackets, is this endpoint's address.

        Names are not resolved: a name is only the same as the name of an endpoint without family.
        """
        literal = host.removeprefix("[").removesuffix("]").replace("%25", "%")
        try:
            address = canonical_address(literal, self.port, None if self.family is None else AF_UNSPEC)
        except LocalProtocolError:
            return False
        # A host without a zone, as in a Uri-Host option, is on this endpoint's link.
        return address.in_addr == self.in_addr and address.scope_id in (0, self.scope_id)

    def uri_to_options(self, uri: str, base_uri: str | None = None) -> Options:
        """Return the options for a request to this endpoint (:rfc:`7252` section 6.4).

        They come in the order Uri-Host, Uri-Port, Uri-Path, Uri-Query; host and port are left out where
        they are this endpoint's.

        Args:
          uri: absolute, or relative to *base_uri*.
          base_uri: by default :attr:`base_uri`.

        Raises:
          UriError: if it is not a URI of CoAP.
          LocalProtocolError: if its scheme is not :attr:`scheme`: a request for what is to be protected must not
            go out without protection.
        """
        parsed = parse_uri(resolve_reference(base_uri or self.base_uri, uri))
        if parsed.scheme != self.scheme:
            raise LocalProtocolError(f"the scheme {parsed.scheme!r} of {uri!r} is not that of {self!r}")
        return self.options_for(parsed)

    def options_for(self, uri: CoapUri) -> Options:
        """Return the options for a request for *uri* to this endpoint; see :meth:`uri_to_options`."""
        # A zone means something on our side of the link only (RFC 6874 section 1).
        host = uri.host.partition("%")[0] if uri.host_is_literal else uri.host
        # A literal that is another address than this endpoint's is kept: it is reached through a proxy or a NAT.
        is_default = uri.host_is_literal and self.is_same_host(host)
        return Options(
            uri_host=None if is_default else host,
            uri_port=None if uri.port == self.port else uri.port,
            uri_path=uri.path,
            uri_query=uri.query,
        )

    def uri_from_options(self, options: Options) -> str:
        """Return the URI that *options* of a request to this endpoint stand for (:rfc:`7252` section 6.5)."""
        host = options.uri_host
        port = options.uri_port
        return compose_uri(
            self.scheme,
            self._address.literal if host is None else host,
            self.port if port is None else port,
            options.uri_path,
            options.uri_query,
        )

    def create_request(
        self,
        uri: str,
        confirmable: bool = False,
        code: Code | tuple[int, int] = Code.GET,
        message_id: int | None = None,
        token: bytes | None = None,
        options: Options | None = None,
        payload: bytes | str | None = None,
    ) -> Request:
        """Return a request for *uri* at this endpoint, ready to be sent.

        Args:
          uri: usually relative, such as ``"/lamp"``.
          confirmable: whether the request is a CON; otherwise it is a NON.
          code: the method.
          message_id: usually left to the message layer.
          token: by default empty.
          options: in addition to those of the URI.
          payload: octets or text.

        Raises:
          LocalProtocolError: if the URI or an option does not fit.
        """
        if not isinstance(code, Code):
            code = Code.of(*code)
        given = self.uri_to_options(uri)
        return Request(
            code,
            b"" if payload is None else payload,
            options=given + options if options else given,
            type=CON if confirmable else NON,
            message_id=message_id,
            token=token or b"",
            destination_endpoint=self,
        )

    def finalize_message(self, message: Message) -> Message:
        """Return *message* checked, and with the options left out that are this endpoint's defaults.

        Those are Uri-Host and Uri-Port (:rfc:`7252` section 5.10.1).

        Raises:
          LocalProtocolError: if an option is malformed, or given once too often.
        """
        for problem in message.options.problems:
            if problem.reason != "is unknown":
                raise LocalProtocolError(str(problem))
        options = message.options
        if options.uri_host is not None and self.is_same_host(options.uri_host):
            options = options.without("Uri-Host")
        if options.uri_port == self.port:
            options = options.without("Uri-Port")
        return message if options is message.options else message.replace(options=options)

    @classmethod
    def _canonical_sockinfo(
        cls,
        sockaddr: SockAddr | None = None,
        family: int | None = AF_UNSPEC,
        security_mode: str | None = None,
        host: str | None = None,
        port: int = COAP_PORT,
    ) -> SocketAddress:
        scope_id = 0
        if sockaddr is not None:
            host, port = sockaddr[:2]
            scope_id = sockaddr[3] if len(sockaddr) > 3 else 0
        if host is None:
            raise LocalProtocolError("an endpoint takes a host, or a socket address")
        if security_mode is not None and not isinstance(security_mode, str):
            raise LocalProtocolError(f"a security mode is a text, not {security_mode!r}")
        return canonical_address(host, port, family, scope_id)

    @classmethod
    def _key_for_sockaddr(cls, sockaddr: SockAddr, family: int | None, security_mode: str | None = None) -> Hashable:
        """Return the key of the endpoint at *sockaddr*.

        Raises:
          ValueError: for AF_UNSPEC, which does not say how to read the host.
        """
        if family == AF_UNSPEC:
            raise ValueError("AF_UNSPEC does not say how to read the host")
        address = canonical_address(sockaddr[0], sockaddr[1], family, *sockaddr[3:4])
        return cls._realm({}), address, security_mode

    @classmethod
    def _realm(cls, options: dict[str, object]) -> Hashable:
        """Return what else tells endpoints of one address apart: nothing, for remote ones."""
        return None

    def _reset(self) -> None:
        """Return mutable state to what it is in a new endpoint; for tests, and for subclasses to extend."""

    def _forget(self) -> None:
        """Make room in the registry for another endpoint with this address."""
        if self._registry.get(self._key) is self:
            del self._registry[self._key]

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> tuple[type[Endpoint], tuple[object, ...]]:
        # Elsewhere a local endpoint is one as others see it.
        return Endpoint, (self.sockaddr, self.family, self.security_mode)

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} {self.uri}>"
