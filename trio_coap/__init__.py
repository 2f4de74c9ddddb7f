"""CoAP (:rfc:`7252`) for Trio: client and server.

What applications use is here; the rooms below are for who builds on them.
"""

from trio_coap.client import Client, Observation, RequestHandle, UnprocessableResponse, open_client
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
from trio_coap.messaging.statistics import EndpointStatistics
from trio_coap.server import Handler, HandlerResult, Resource, Server, Site, serve
from trio_coap.transports.udp.endpoint import SocketEndpoint, open_endpoint
from trio_coap.wire.block import Block
from trio_coap.wire.codes import ACK, CON, NON, RST, Code, MessageType
from trio_coap.wire.contentformats import content_format_of, media_type_of, register_content_format
from trio_coap.wire.definitions import OptionDefinition, OptionFormat, register_option
from trio_coap.wire.errors import CoapError, LocalProtocolError, MessageFormatError, RemoteProtocolError
from trio_coap.wire.message import Message, Request, Response
from trio_coap.wire.options import OptionProblem, Options
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
    "COAPS_PORT",
    "COAP_PORT",
    "CON",
    "NON",
    "RST",
    "BadGateway",
    "BadOption",
    "BadRequest",
    "Block",
    "Client",
    "ClientError",
    "CoapError",
    "CoapUri",
    "Code",
    "Conflict",
    "DeliveryError",
    "Endpoint",
    "EndpointStatistics",
    "Forbidden",
    "GatewayTimeout",
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
    "NetworkError",
    "NotAcceptable",
    "NotFound",
    "NotImplementedByServer",
    "Observation",
    "OptionDefinition",
    "OptionFormat",
    "OptionProblem",
    "Options",
    "PendingLimitReached",
    "PreconditionFailed",
    "ProxyingNotSupported",
    "RemoteProtocolError",
    "ReplyMessageError",
    "Request",
    "RequestEntityIncomplete",
    "RequestEntityTooLarge",
    "RequestHandle",
    "ResetReceived",
    "Resource",
    "Response",
    "ResponseError",
    "Server",
    "ServerError",
    "ServiceUnavailable",
    "Site",
    "SocketEndpoint",
    "TooManyRequests",
    "TransmissionParameters",
    "TransmissionTimeout",
    "Unauthorized",
    "UnprocessableEntity",
    "UnprocessableResponse",
    "UnsupportedContentFormat",
    "UriError",
    "compose_uri",
    "content_format_of",
    "media_type_of",
    "open_client",
    "open_endpoint",
    "parse_uri",
    "register_content_format",
    "register_option",
    "resolve_reference",
    "serve",
]
