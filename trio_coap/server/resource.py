"""Resources: handlers by method, and what is declared about them (:rfc:`7252` sections 5.8 and 5.10).

What happens between a request and its handler, if the resource or the method has declarations:

=====================================================  ===============================================
a method that the resource lacks                       4.05
formats that no handler has                            see :mod:`trio_coap.server.negotiation`
a condition that is not met                            4.12; see :mod:`trio_coap.server.conditions`
an ETag that the resource's function gives, for GET    2.03, and the handler does not run (5.10.6.2)
everything else                                        the handler runs
=====================================================  ===============================================

Rule: between the last look at the state and the first line of the handler nothing else runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar, Unpack, cast, final

from trio_coap.server.conditions import CONDITIONS, add_etag, check_conditions, find_etags, is_conditional, says
from trio_coap.server.declarations import (
    OF_METHODS,
    OF_RESOURCES,
    ETagFunction,
    MethodDeclarations,
    ResourceDeclarations,
    ResourceHandler,
    Result,
    check_names,
    formats_of,
)
from trio_coap.server.negotiation import MethodHandler, choose, label
from trio_coap.server.observable import NotificationPolicy, Observable
from trio_coap.server.results import HandlerResult
from trio_coap.server.steps import Steps, run, run_later, wait
from trio_coap.wire.codes import Code
from trio_coap.wire.definitions import find_definition
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.linkformat import AttributeValues, Link, format_links
from trio_coap.wire.message import Request, Response
from trio_coap.wire.response_errors import MethodNotAllowed, NotFound, ResponseError

F = TypeVar("F", bound=ResourceHandler)

_FETCHING = frozenset({Code.GET, Code.FETCH})


@final
class Resource:
    """What answers requests for one path: handlers for each method.

    Made by :meth:`Site.resource`; its methods are decorators.

    Attributes:
      path: the template of its path.
      observable: its observers; None if it cannot be observed.
      is_listed: whether it stands in ``/.well-known/core``.
      answers_groups: whether requests to a group reach it.
    """

    def __init__(self, path: str) -> None:
        """Make a resource without methods; *path* is for messages."""
        self.path = path
        self.observable: Observable | None = None
        self.is_listed = True
        self.answers_groups = True
        self._attributes: dict[str, AttributeValues] = {}
        self._etag: bool | ETagFunction = False
        self._handlers: dict[Code, tuple[MethodHandler, ...]] = {}
        self._undeclared: dict[Code, ResourceHandler] = {}

    # What the application says.

    def declare(self, **declarations: Unpack[ResourceDeclarations]) -> None:
        """Say something about the resource; what was said before about other things holds on.

        Args:
          declarations: see :class:`trio_coap.server.declarations.ResourceDeclarations`.

        Raises:
          LocalProtocolError: if an attribute cannot be written in link format, a content format is not known, or *etag* is no
            function.
          TypeError: for a declaration that does not exist.
        """
        check_names(declarations, OF_RESOURCES)
        etag = declarations.get("etag", self._etag)
        if not isinstance(etag, bool) and not callable(etag):
            raise LocalProtocolError(f"etag is True, False or a function that returns the ETag, not {etag!r}")
        attributes = {**self._attributes, **_attributes_of(declarations)}
        format_links([Link("/", attributes)])
        self._attributes = attributes
        self.is_listed = declarations.get("is_listed", self.is_listed)
        self.answers_groups = declarations.get("answers_groups", self.answers_groups)
        self._etag = etag
        observable = declarations.get("observable", False)
        if observable and self.observable is None:
            self.observable = Observable()
        if isinstance(observable, NotificationPolicy) and self.observable is not None:
            self.observable.policy = observable
        self._sort_handlers()

    def method(self, code: Code, **declarations: Unpack[MethodDeclarations]) -> Callable[[F], F]:
        """Make the decorated function a handler for the method *code*.

        Args:
          code: the method.
          declarations: see :class:`trio_coap.server.declarations.MethodDeclarations`.

        Raises:
          LocalProtocolError: if *code* is no method, or there is a handler for it that takes and gives the same
            formats, or an option or a content format is not known.
          TypeError: for a declaration that does not exist.
        """
        if not code.is_request:
            raise LocalProtocolError(f"{code} is no method")
        check_names(declarations, OF_METHODS)
        understands = frozenset([find_definition(option).number for option in declarations.get("understands", ())])
        produces = formats_of(declarations.get("produces", ()))
        consumes = formats_of(declarations.get("consumes", ()))

        def register(handler: F) -> F:
            self._register(code, MethodHandler(handler, understands, produces, consumes))
            return handler

        self._check_room(code, MethodHandler(register, understands, produces, consumes))
        return register

    def get(self, handler: F) -> F:
        """Make *handler* answer GET; it has no side effects."""
        return self.method(Code.GET)(handler)

    def post(self, handler: F) -> F:
        """Make *handler* answer POST."""
        return self.method(Code.POST)(handler)

    def put(self, handler: F) -> F:
        """Make *handler* answer PUT; doing it twice is the same as once."""
        return self.method(Code.PUT)(handler)

    def delete(self, handler: F) -> F:
        """Make *handler* answer DELETE; doing it twice is the same as once."""
        return self.method(Code.DELETE)(handler)

    def fetch(self, handler: F) -> F:
        """Make *handler* answer FETCH; it has no side effects (:rfc:`8132`)."""
        return self.method(Code.FETCH)(handler)

    def patch(self, handler: F) -> F:
        """Make *handler* answer PATCH (:rfc:`8132`)."""
        return self.method(Code.PATCH)(handler)

    def ipatch(self, handler: F) -> F:
        """Make *handler* answer iPATCH; doing it twice is the same as once (:rfc:`8132`)."""
        return self.method(Code.IPATCH)(handler)

    def notify(self, **parameters: object) -> None:
        """Tell the observers that the state has changed; see :meth:`Observable.notify`.

        Args:
          parameters: only those who observe a path with these parameters; by default all.

        Raises:
          LocalProtocolError: if the resource was not declared as observable.
        """
        self._require_observable().notify(**parameters)

    def end(self, error: ResponseError | None = None, **parameters: object) -> None:
        """End observations with *error*, by default 4.04; see :meth:`Observable.end`.

        Raises:
          LocalProtocolError: if the resource was not declared as observable.
        """
        self._require_observable().end(error, **parameters)

    def _require_observable(self) -> Observable:
        if self.observable is None:
            raise LocalProtocolError(f"{self.path} is not observable; declare it with observable=True")
        return self.observable

    def _check_room(self, code: Code, new: MethodHandler) -> None:
        if any(new.is_like(known) for known in self._handlers.get(code, ())):
            formats = " for these formats" if new.produces or new.consumes else ""
            raise LocalProtocolError(f"{self.path} has a handler for {code.name} already{formats}")

    def _register(self, code: Code, new: MethodHandler) -> None:
        self._check_room(code, new)
        self._handlers[code] = (*self._handlers.get(code, ()), new)
        self._sort_handlers()

    def _sort_handlers(self) -> None:
        """Find out which requests can go to their handler without further ado."""
        self._undeclared = {
            code: handlers[0].handler
            for code, handlers in self._handlers.items()
            if not (self._etag or len(handlers) > 1 or handlers[0].produces or handlers[0].consumes)
        }

    # What is asked about it.

    @property
    def has_handlers(self) -> bool:
        """Whether any request is answered."""
        return bool(self._handlers)

    def link(self, target: str) -> Link:
        """Return what is said about the resource to who discovers it at *target* (:rfc:`6690`)."""
        attributes = dict(self._attributes)
        produced = dict.fromkeys(number for one in self._handlers.get(Code.GET, ()) for number in one.produces)
        if produced:
            attributes.setdefault("ct", _words(produced))
        if self.observable is not None:
            attributes.setdefault("obs", None)
        return Link(target, attributes)

    def find_handler(self, request: Request) -> ResourceHandler | None:
        """Return the handler that answers *request*, or None if there is none."""
        handler = self._undeclared.get(request.code)
        if handler is not None:
            return handler
        try:
            return choose(self._handlers.get(request.code, ()), request)[0].handler
        except ResponseError:
            return None

    def understands(self, request: Request) -> frozenset[int]:
        """Return the numbers of the critical options that are processed for *request*, beside those that always are."""
        handlers = self._handlers.get(request.code, ())
        try:
            understood = choose(handlers, request)[0].understands
        except ResponseError:  # This is what will be answered, not 4.02.
            understood = frozenset[int]().union(*[one.understands for one in handlers])
        # Of what cannot be fetched nobody knows the state, unless there is a function for it.
        is_known = callable(self._etag) or (self._etag and Code.GET in self._handlers)
        return understood | CONDITIONS if is_known else understood

    def handle(self, request: Request, parameters: dict[str, Any]) -> Result:
        """Answer *request*.

        Raises:
          MethodNotAllowed: if there is no handler for its method.
          ResponseError: see the table.
        """
        handler = self._undeclared.get(request.code)
        if handler is not None:
            return handler(request, **parameters) if parameters else handler(request)
        handlers = self._handlers.get(request.code)
        if handlers is None:
            allowed = ", ".join(code.name for code in self._handlers)
            raise MethodNotAllowed(f"{request.code.name} is not among {allowed}")
        chosen, picked = choose(handlers, request)
        steps = self._answer(chosen, picked, request, parameters)
        if self._etag and is_conditional(request.options) and _is_async(chosen.handler):
            # The condition is checked in the task of the handler, right before its first line.
            return run_later(steps)
        return run(steps)

    def _answer(
        self, chosen: MethodHandler, picked: int | None, request: Request, parameters: dict[str, Any]
    ) -> Steps[HandlerResult]:
        request = chosen.for_format(request, picked)
        etag = None
        if self._etag:
            if is_conditional(request.options):
                yield from self._check_conditions(chosen, request, parameters)
            if callable(self._etag) and request.code == Code.GET:
                etag = yield from _ask(self._etag, request, parameters)
                if etag is not None and etag in request.options.etags and not _is_later_block(request):
                    return Response(Code.VALID, etag=etag)
        result = yield from wait(chosen.handler(request, **parameters))
        complete = label(result, request, picked, chosen.produces)
        if etag is not None or (self._etag is True and request.code in _FETCHING):
            return add_etag(complete, request, etag)
        return complete

    def _check_conditions(self, chosen: MethodHandler, request: Request, parameters: dict[str, Any]) -> Steps[None]:
        left = request.replace(options=request.options.without(*chosen.understands & CONDITIONS))
        if not is_conditional(left.options):
            return
        if callable(self._etag):
            etags = [(yield from _ask(self._etag, request, parameters))]
        else:
            etags = yield from find_etags(self._handlers.get(Code.GET, ()), request, parameters)
        check_conditions(left, None, *etags)


def _ask(function: ETagFunction, request: Request, parameters: dict[str, Any]) -> Steps[bytes | None]:
    """Return the ETag that the application's function gives; None if it says that the resource does not exist."""
    try:
        return (yield from wait(function(request, **parameters)))
    except Exception as exc:
        if not says(exc, NotFound):
            raise
        return None


def _is_async(handler: ResourceHandler) -> bool:
    """Whether *handler* is an ``async def``, or something around one that says so: a decorator's function, a partial."""
    while not inspect.iscoroutinefunction(handler):
        inner = handler.func if isinstance(handler, partial) else getattr(handler, "__wrapped__", None)
        if inner is None:
            return inspect.iscoroutinefunction(type(handler).__call__)
        handler = inner
    return True


def _is_later_block(request: Request) -> bool:
    """True for a handler that sees blocks, when it is asked for the second or a later one."""
    block = request.options.block2
    return block is not None and block.number > 0


def _attributes_of(declarations: ResourceDeclarations) -> dict[str, AttributeValues]:
    """Return the target attributes that are declared, those with a name of their own first."""
    attributes: dict[str, AttributeValues] = {}
    for name, key in (("rt", "rt"), ("if", "if_"), ("title", "title"), ("sz", "sz")):
        if key in declarations:
            attributes[name] = _words(cast(Any, declarations)[key])
    if "ct" in declarations:
        attributes["ct"] = _words(formats_of(declarations["ct"]))
    for name, value in declarations.get("attributes", {}).items():
        attributes.setdefault(name, value)
    return attributes


def _words(value: str | int | Iterable[str | int]) -> str:
    return str(value) if isinstance(value, (str, int)) else " ".join([str(word) for word in value])
