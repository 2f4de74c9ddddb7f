"""CoAP (:rfc:`7252`) for Trio: client and server.

What applications use is here; the rooms below are for who builds on them.

This module defines nothing but ``__getattr__`` (:pep:`562`), which imports a name when it is first asked for: a client does
not pay for the server, a program that only shows its help for neither, and a test run that loads the plugin for no engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_coap.client import (
        BlockTransferError,
        BodyTooLarge,
        Client,
        GroupRequest,
        Observation,
        Progress,
        RepresentationChanged,
        RequestHandle,
        StreamedResponse,
        UnprocessableResponse,
        open_client,
    )
    from trio_coap.client.cache import CacheStatistics, ResponseCache
    from trio_coap.messaging.endpoint import COAP_PORT, COAPS_PORT, Endpoint
    from trio_coap.messaging.errors import (
        DeliveryError,
        NetworkError,
        PendingLimitReached,
        ReplyMessageError,
        ResetReceived,
        TransmissionTimeout,
    )
    from trio_coap.messaging.local import LocalEndpoint
    from trio_coap.messaging.parameters import Limits, TransmissionParameters
    from trio_coap.messaging.statistics import EndpointStatistics, SocketStatistics
    from trio_coap.server import (
        BlockLimits,
        BlockPolicy,
        BodyIncomplete,
        EchoPolicy,
        Handler,
        HandlerResult,
        NotificationPolicy,
        Observable,
        ObservableHandler,
        Resource,
        Server,
        Site,
        StreamedBody,
        StreamedRequest,
        block_policy,
        check_conditions,
        fresh,
        require_fresh,
        serve,
    )
    from trio_coap.server.statistics import ServerStatistics
    from trio_coap.transports.udp.capabilities import Capabilities
    from trio_coap.transports.udp.endpoint import SocketEndpoint
    from trio_coap.transports.udp.groups import ALL_COAP_NODES
    from trio_coap.transports.udp.opening import open_endpoint
    from trio_coap.transports.udp.sockets import open_shared_sockets
    from trio_coap.wire.block import Block
    from trio_coap.wire.codes import ACK, CON, NON, RST, Code, MessageType
    from trio_coap.wire.contentformats import content_format_of, media_type_of, register_content_format
    from trio_coap.wire.definitions import OptionDefinition, OptionFormat, register_option
    from trio_coap.wire.errors import (
        CoapError,
        LocalProtocolError,
        MessageFormatError,
        MissingExtra,
        PayloadFormatError,
        RemoteProtocolError,
    )
    from trio_coap.wire.message import Message, Request, Response
    from trio_coap.wire.options import OptionProblem, Options
    from trio_coap.wire.problems import ProblemDetails, TaggedText
    from trio_coap.wire.response_errors import (
        BadGateway,
        BadOption,
        BadRequest,
        ClientError,
        Conflict,
        Forbidden,
        GatewayTimeout,
        HopLimitReached,
        InternalServerError,
        MethodNotAllowed,
        NotAcceptable,
        NotFound,
        NotImplementedByServer,
        PreconditionFailed,
        ProxyingNotSupported,
        RequestEntityIncomplete,
        RequestEntityTooLarge,
        ResponseError,
        ServerError,
        ServiceUnavailable,
        TooManyRequests,
        Unauthorized,
        UnprocessableEntity,
        UnsupportedContentFormat,
    )
    from trio_coap.wire.uri import CoapUri, UriError, compose_uri, parse_uri, resolve_reference

__all__ = [
    "ACK",
    "ALL_COAP_NODES",
    "COAPS_PORT",
    "COAP_PORT",
    "CON",
    "NON",
    "RST",
    "BadGateway",
    "BadOption",
    "BadRequest",
    "Block",
    "BlockLimits",
    "BlockPolicy",
    "BlockTransferError",
    "BodyIncomplete",
    "BodyTooLarge",
    "CacheStatistics",
    "Capabilities",
    "Client",
    "ClientError",
    "CoapError",
    "CoapUri",
    "Code",
    "Conflict",
    "DeliveryError",
    "EchoPolicy",
    "Endpoint",
    "EndpointStatistics",
    "Forbidden",
    "GatewayTimeout",
    "GroupRequest",
    "Handler",
    "HandlerResult",
    "HopLimitReached",
    "InternalServerError",
    "Limits",
    "LocalEndpoint",
    "LocalProtocolError",
    "Message",
    "MessageFormatError",
    "MessageType",
    "MethodNotAllowed",
    "MissingExtra",
    "NetworkError",
    "NotAcceptable",
    "NotFound",
    "NotImplementedByServer",
    "NotificationPolicy",
    "Observable",
    "ObservableHandler",
    "Observation",
    "OptionDefinition",
    "OptionFormat",
    "OptionProblem",
    "Options",
    "PayloadFormatError",
    "PendingLimitReached",
    "PreconditionFailed",
    "ProblemDetails",
    "Progress",
    "ProxyingNotSupported",
    "RemoteProtocolError",
    "ReplyMessageError",
    "RepresentationChanged",
    "Request",
    "RequestEntityIncomplete",
    "RequestEntityTooLarge",
    "RequestHandle",
    "ResetReceived",
    "Resource",
    "Response",
    "ResponseCache",
    "ResponseError",
    "Server",
    "ServerError",
    "ServerStatistics",
    "ServiceUnavailable",
    "Site",
    "SocketEndpoint",
    "SocketStatistics",
    "StreamedBody",
    "StreamedRequest",
    "StreamedResponse",
    "TaggedText",
    "TooManyRequests",
    "TransmissionParameters",
    "TransmissionTimeout",
    "Unauthorized",
    "UnprocessableEntity",
    "UnprocessableResponse",
    "UnsupportedContentFormat",
    "UriError",
    "block_policy",
    "check_conditions",
    "compose_uri",
    "content_format_of",
    "fresh",
    "media_type_of",
    "open_client",
    "open_endpoint",
    "open_shared_sockets",
    "parse_uri",
    "register_content_format",
    "register_option",
    "require_fresh",
    "resolve_reference",
    "serve",
]

_NAMES = {
    "trio_coap.client": (
        "BlockTransferError",
        "BodyTooLarge",
        "Client",
        "GroupRequest",
        "Observation",
        "Progress",
        "RepresentationChanged",
        "RequestHandle",
        "StreamedResponse",
        "UnprocessableResponse",
        "open_client",
    ),
    "trio_coap.client.cache": ("CacheStatistics", "ResponseCache"),
    "trio_coap.messaging.endpoint": ("COAP_PORT", "COAPS_PORT", "Endpoint"),
    "trio_coap.messaging.errors": (
        "DeliveryError",
        "NetworkError",
        "PendingLimitReached",
        "ReplyMessageError",
        "ResetReceived",
        "TransmissionTimeout",
    ),
    "trio_coap.messaging.local": ("LocalEndpoint",),
    "trio_coap.messaging.parameters": ("Limits", "TransmissionParameters"),
    "trio_coap.messaging.statistics": ("EndpointStatistics", "SocketStatistics"),
    "trio_coap.server": (
        "BlockLimits",
        "BlockPolicy",
        "BodyIncomplete",
        "EchoPolicy",
        "Handler",
        "HandlerResult",
        "NotificationPolicy",
        "Observable",
        "ObservableHandler",
        "Resource",
        "Server",
        "Site",
        "StreamedBody",
        "StreamedRequest",
        "block_policy",
        "check_conditions",
        "fresh",
        "require_fresh",
        "serve",
    ),
    "trio_coap.server.statistics": ("ServerStatistics",),
    "trio_coap.transports.udp.capabilities": ("Capabilities",),
    "trio_coap.transports.udp.endpoint": ("SocketEndpoint",),
    "trio_coap.transports.udp.groups": ("ALL_COAP_NODES",),
    "trio_coap.transports.udp.opening": ("open_endpoint",),
    "trio_coap.transports.udp.sockets": ("open_shared_sockets",),
    "trio_coap.wire.block": ("Block",),
    "trio_coap.wire.codes": ("ACK", "CON", "NON", "RST", "Code", "MessageType"),
    "trio_coap.wire.contentformats": ("content_format_of", "media_type_of", "register_content_format"),
    "trio_coap.wire.definitions": ("OptionDefinition", "OptionFormat", "register_option"),
    "trio_coap.wire.errors": (
        "CoapError",
        "LocalProtocolError",
        "MessageFormatError",
        "MissingExtra",
        "PayloadFormatError",
        "RemoteProtocolError",
    ),
    "trio_coap.wire.message": ("Message", "Request", "Response"),
    "trio_coap.wire.options": ("OptionProblem", "Options"),
    "trio_coap.wire.problems": ("ProblemDetails", "TaggedText"),
    "trio_coap.wire.response_errors": (
        "BadGateway",
        "BadOption",
        "BadRequest",
        "ClientError",
        "Conflict",
        "Forbidden",
        "GatewayTimeout",
        "HopLimitReached",
        "InternalServerError",
        "MethodNotAllowed",
        "NotAcceptable",
        "NotFound",
        "NotImplementedByServer",
        "PreconditionFailed",
        "ProxyingNotSupported",
        "RequestEntityIncomplete",
        "RequestEntityTooLarge",
        "ResponseError",
        "ServerError",
        "ServiceUnavailable",
        "TooManyRequests",
        "Unauthorized",
        "UnprocessableEntity",
        "UnsupportedContentFormat",
    ),
    "trio_coap.wire.uri": ("CoapUri", "UriError", "compose_uri", "parse_uri", "resolve_reference"),
}  # By module: what of it is here, the same as what type checkers read above.

_MODULES = {name: module for module, names in _NAMES.items() for name in names}

_ROOMS = frozenset({"client", "messaging", "server", "transports", "wire"})

if not TYPE_CHECKING:  # Otherwise type checkers would believe that every name is here.

    def __getattr__(name: str) -> object:
        module = _MODULES.get(name)
        if module is None and name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        room = module or f"{__name__}.{name}"
        if room.startswith(f"{__name__}.messaging"):
            import_module(f"{__name__}.transports")  # They tell Endpoint.resolve() whom to ask.
        if module is None:
            return import_module(room)
        value = globals()[name] = getattr(import_module(module), name)  # The next look-up does not come here.
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_ROOMS})
