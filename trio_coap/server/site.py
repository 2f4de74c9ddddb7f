"""Sites: handlers by path and method (:rfc:`7252` sections 5.8 and 6).

Rule 1: a path is a template such as ``/lamps/{number:int}``; literal segments go before parameters, and those before
a rest.  Rule 2: routing is a look-up for each segment, however many resources there are.  Rule 3: a site is itself a
handler.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, final

import attrs

from trio_coap.server.observable import NotificationPolicy, Observable
from trio_coap.server.results import HandlerResult
from trio_coap.wire.codes import Code
from trio_coap.wire.definitions import find_definition
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Request
from trio_coap.wire.options import OptionName
from trio_coap.wire.response_errors import MethodNotAllowed, NotFound, ResponseError

Result = HandlerResult | Awaitable[HandlerResult]
ResourceHandler = Callable[..., Result]
"""Takes the request, and the parameters of its path by name."""

F = TypeVar("F", bound=ResourceHandler)

_PARAMETER = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(?::([a-z]+))?\}")
_INTEGER = re.compile(r"-?[0-9]{1,19}")


@final
class Resource:
    """What answers requests for one path: a handler for each method.

    Made by :meth:`Site.resource`; its methods are decorators.

    Attributes:
      observable: its observers; None if it cannot be observed.
    """

    def __init__(self, path: str) -> None:
        """Make a resource without methods; *path* is for messages."""
        self.path = path
        self._handlers: dict[Code, ResourceHandler] = {}
        self._understood: dict[Code, frozenset[int]] = {}
        self.observable: Observable | None = None

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

    def method(self, code: Code, *, understands: Iterable[OptionName] = ()) -> Callable[[F], F]:
        """Make the decorated function the handler for the method *code*.

        Args:
          code: the method.
          understands: the critical options that the handler processes itself, such as ``["If-Match"]``; a request
            with one that nobody processes is answered with 4.02 (:rfc:`7252` section 5.4.1).

        Raises:
          LocalProtocolError: if *code* is no method, or there is a handler for it, or an option is not known.
        """
        if not code.is_request:
            raise LocalProtocolError(f"{code} is no method")
        if code in self._handlers:
            raise LocalProtocolError(f"{self.path} has a handler for {code.name} already")
        self._understood[code] = frozenset(find_definition(option).number for option in understands)

        def register(handler: F) -> F:
            self._handlers[code] = handler
            return handler

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

    def find_handler(self, code: Code) -> ResourceHandler | None:
        """Return the handler for the method *code*, or None."""
        return self._handlers.get(code)

    def understands(self, code: Code) -> frozenset[int]:
        """Return the numbers of the critical options that the handler for the method *code* processes."""
        return self._understood.get(code, frozenset())

    def handle(self, request: Request, parameters: dict[str, Any]) -> Result:
        """Answer *request*.

        Raises:
          MethodNotAllowed: if there is no handler for its method.
        """
        handler = self._handlers.get(request.code)
        if handler is None:
            allowed = ", ".join(code.name for code in self._handlers)
            raise MethodNotAllowed(f"{request.code.name} is not among {allowed}")
        return handler(request, **parameters) if parameters else handler(request)


@attrs.define(eq=False)
class _Node:
    """A place in the tree of paths."""

    children: dict[str, _Node] = attrs.Factory(dict)
    parameter: tuple[str, str, _Node] | None = None
    """Name, kind and node of the parameter segment, if there is one."""
    rest: tuple[str, Resource] | None = None
    """Name of the parameter that takes all further segments, and who answers."""
    resource: Resource | None = None


@final
class Site:
    """A handler that passes requests on by their path.

    Templates have parameters: ``{name}`` is one segment, ``{name:int}`` an integer, ``{name:path}`` at the end all
    further segments (a tuple).  Handlers get them by name::

        site = Site()


        @site.get("/lamps/{number:int}")
        def read_lamp(request, number):
            return "on" if lamps[number] else "off"

    A resource that changes can be observed, and says when it has changed::

        @site.get("/time", observable=True)
        def read_time(request):
            return str(now)


        site.resource("/time").notify()

    A path that leads nowhere is answered with 4.04, a method that a resource lacks with 4.05.
    """

    def __init__(self) -> None:
        """Make a site without resources."""
        self._root = _Node()

    def resource(self, path: str, *, observable: bool | NotificationPolicy = False) -> Resource:
        """Return the resource at the template *path*, made if it is not there yet.

        Args:
          path: the template.
          observable: whether clients may observe it (:rfc:`7641`), and how they are notified; what has been declared
            as observable stays so.

        Raises:
          LocalProtocolError: if the template is malformed, or contradicts another one.
        """
        resource = self._resource(path)
        if observable and resource.observable is None:
            resource.observable = Observable()
        if isinstance(observable, NotificationPolicy) and resource.observable is not None:
            resource.observable.policy = observable
        return resource

    def _resource(self, path: str) -> Resource:
        segments = _split(path)
        last = _PARAMETER.fullmatch(segments[-1]) if segments else None
        if last is not None and last[2] == "path":
            return _rest_resource(_descend_all(self._root, segments[:-1], path), last[1], path)
        node = _descend_all(self._root, segments, path)
        if node.resource is None:
            node.resource = Resource(path)
        return node.resource

    def get(
        self, path: str, *, observable: bool | NotificationPolicy = False, understands: Iterable[OptionName] = ()
    ) -> Callable[[F], F]:
        """Make the decorated function answer GET at *path*; see :meth:`resource` and :meth:`Resource.method`."""
        return self.resource(path, observable=observable).method(Code.GET, understands=understands)

    def post(self, path: str, *, understands: Iterable[OptionName] = ()) -> Callable[[F], F]:
        """Make the decorated function answer POST at *path*; see :meth:`Resource.method`."""
        return self.resource(path).method(Code.POST, understands=understands)

    def put(self, path: str, *, understands: Iterable[OptionName] = ()) -> Callable[[F], F]:
        """Make the decorated function answer PUT at *path*; see :meth:`Resource.method`."""
        return self.resource(path).method(Code.PUT, understands=understands)

    def delete(self, path: str, *, understands: Iterable[OptionName] = ()) -> Callable[[F], F]:
        """Make the decorated function answer DELETE at *path*; see :meth:`Resource.method`."""
        return self.resource(path).method(Code.DELETE, understands=understands)

    def fetch(
        self, path: str, *, observable: bool | NotificationPolicy = False, understands: Iterable[OptionName] = ()
    ) -> Callable[[F], F]:
        """Make the decorated function answer FETCH at *path*; see :meth:`resource` and :meth:`Resource.method`."""
        return self.resource(path, observable=observable).method(Code.FETCH, understands=understands)

    def patch(self, path: str, *, understands: Iterable[OptionName] = ()) -> Callable[[F], F]:
        """Make the decorated function answer PATCH at *path*; see :meth:`Resource.method`."""
        return self.resource(path).method(Code.PATCH, understands=understands)

    def ipatch(self, path: str, *, understands: Iterable[OptionName] = ()) -> Callable[[F], F]:
        """Make the decorated function answer iPATCH at *path*; see :meth:`Resource.method`."""
        return self.resource(path).method(Code.IPATCH, understands=understands)

    def mount(self, path: str, site: Site) -> None:
        """Put the resources of *site*, present and future, below *path*.

        Raises:
          LocalProtocolError: if *path* is malformed, or there are resources below it already.
        """
        *above, last = _split(path) or [""]
        node = _descend_all(self._root, above, path)
        if not last or _PARAMETER.fullmatch(last):
            raise LocalProtocolError(f"a site is mounted below a literal segment, which {path!r} does not end with")
        if last in node.children:
            raise LocalProtocolError(f"there are resources below {path!r} already")
        node.children[last] = site._root

    def understands(self, request: Request) -> frozenset[int]:
        """Return the numbers of the critical options that the handler for *request* processes."""
        found = _find(self._root, request.options.uri_path, 0, {})
        return frozenset() if found is None else found[0].understands(request.code)

    def __call__(self, request: Request) -> Result:
        """Answer *request*.

        Raises:
          NotFound: if there is no resource at its path.
          MethodNotAllowed: if the resource lacks its method.
        """
        found = _find(self._root, request.options.uri_path, 0, {})
        if found is None:
            raise NotFound("there is nothing at /" + "/".join(request.options.uri_path))
        resource, parameters = found
        return resource.handle(request, parameters)

    def find_observable(self, request: Request) -> tuple[Observable, dict[str, object]] | None:
        """See :class:`trio_coap.server.observable.ObservableHandler`."""
        found = _find(self._root, request.options.uri_path, 0, {})
        if found is None or found[0].observable is None:
            return None
        return found[0].observable, found[1]

    def find_handler(self, request: Request) -> ResourceHandler | None:
        """Return the handler that answers *request*, or None if there is none."""
        found = _find(self._root, request.options.uri_path, 0, {})
        return None if found is None else found[0].find_handler(request.code)


def _split(path: str) -> list[str]:
    if not path.startswith("/"):
        raise LocalProtocolError(f"a path starts with a slash, unlike {path!r}")
    segments = path[1:].split("/") if len(path) > 1 else []
    names = [match[1] for match in map(_PARAMETER.fullmatch, segments) if match is not None]
    if len(set(names)) < len(names):
        raise LocalProtocolError(f"a parameter stands twice in {path!r}")
    return segments


def _descend_all(node: _Node, segments: list[str], path: str) -> _Node:
    """Return the node at *segments* below *node*, made if it is not there yet."""
    for segment in segments:
        match = _PARAMETER.fullmatch(segment)
        if match is not None:
            node = _parameter_node(node, match[1], match[2] or "str", path)
        elif "{" in segment or "}" in segment:
            raise LocalProtocolError(f"{segment!r} in {path!r} is no parameter; write {{name}} or {{name:int}}")
        else:
            node = node.children.setdefault(segment, _Node())
    return node


def _parameter_node(node: _Node, name: str, kind: str, path: str) -> _Node:
    if kind not in ("str", "int"):
        raise LocalProtocolError(f"the kind {kind!r} in {path!r} is none of str, int and, at the end, path")
    if node.parameter is None:
        node.parameter = (name, kind, _Node())
    elif node.parameter[:2] != (name, kind):
        raise LocalProtocolError(f"{{{name}:{kind}}} in {path!r} stands where {node.parameter[0]!r} stands elsewhere")
    return node.parameter[2]


def _rest_resource(node: _Node, name: str, path: str) -> Resource:
    if node.rest is None:
        node.rest = (name, Resource(path))
    elif node.rest[0] != name:
        raise LocalProtocolError(f"{{{name}:path}} in {path!r} stands where {node.rest[0]!r} stands elsewhere")
    return node.rest[1]


def _find(
    node: _Node, path: tuple[str, ...], position: int, parameters: dict[str, Any]
) -> tuple[Resource, dict[str, Any]] | None:
    """Return the resource at *path* from *position* on, with the parameters of its template."""
    if position == len(path):
        return None if node.resource is None else (node.resource, parameters)
    segment = path[position]
    child = node.children.get(segment)
    if child is not None:
        found = _find(child, path, position + 1, parameters)
        if found is not None:
            return found
    if node.parameter is not None:
        name, kind, below = node.parameter
        if kind == "str" or _INTEGER.fullmatch(segment):
            value = segment if kind == "str" else int(segment)
            found = _find(below, path, position + 1, {**parameters, name: value})
            if found is not None:
                return found
    if node.rest is not None:
        name, resource = node.rest
        return resource, {**parameters, name: path[position:]}
    return None
