"""Sites: handlers by path and method (:rfc:`7252` sections 5.8 and 6).

Rule 1: a path is a template such as ``/lamps/{number:int}``; literal segments go before parameters, and those before
a rest.  Rule 2: routing is a look-up for each segment, however many resources there are.  Rule 3: a site is itself a
handler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar, Unpack, final

from trio_coap.server.declarations import (
    Declarations,
    ResourceDeclarations,
    ResourceHandler,
    Result,
    split_declarations,
)
from trio_coap.server.observable import Observable
from trio_coap.server.paths import Found, Node, Routes, make_resource, mount
from trio_coap.server.resource import Resource
from trio_coap.server.wellknown import WELL_KNOWN_CORE, make_core
from trio_coap.wire.codes import Code
from trio_coap.wire.linkformat import Link
from trio_coap.wire.message import Request
from trio_coap.wire.options import Options
from trio_coap.wire.response_errors import NotFound

F = TypeVar("F", bound=ResourceHandler)


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

    What is declared about a method or a resource, the site takes care of: formats, ETags, conditions.  See
    :class:`trio_coap.server.declarations.MethodDeclarations` and
    :class:`trio_coap.server.declarations.ResourceDeclarations`::

        @site.put("/lamps/{number:int}", consumes="json", etag=True, rt="light")
        def switch_lamp(request, number):
            lamps[number] = request.json()

    A path that leads nowhere is answered with 4.04, a method that a resource lacks with 4.05.  What there is, and what
    is declared about it, stands at ``/.well-known/core`` (:rfc:`6690`), unless there is a resource of the application's
    own at that path.
    """

    def __init__(self, *, well_known: bool = True) -> None:
        """Make a site without resources.

        Args:
          well_known: False if it is not to answer at ``/.well-known/core`` by itself.
        """
        self._root = Node()
        self._routes = Routes(self._root)
        self._core = make_core(self._root) if well_known else None
        # The options that were looked for last, when that was in changes of the tree, and what was found.
        self._last: tuple[Options | None, int, Found | None] = None, 0, None

    def resource(self, path: str, **declarations: Unpack[ResourceDeclarations]) -> Resource:
        """Return the resource at the template *path*, made if it is not there yet.

        Args:
          path: the template.
          declarations: see :class:`trio_coap.server.declarations.ResourceDeclarations`.

        Raises:
          LocalProtocolError: if the template is malformed, or contradicts another one, or a declaration is wrong.
          TypeError: for a declaration that does not exist.
        """
        resource = make_resource(self._root, path)
        if declarations:
            resource.declare(**declarations)
        return resource

    def method(self, code: Code, path: str, **declarations: Unpack[Declarations]) -> Callable[[F], F]:
        """Make the decorated function a handler for the method *code* at *path*.

        Args:
          code: the method.
          path: the template.
          declarations: about the method and about the resource; see
            :class:`trio_coap.server.declarations.MethodDeclarations` and
            :class:`trio_coap.server.declarations.ResourceDeclarations`.

        Raises:
          LocalProtocolError: see :meth:`resource` and :meth:`Resource.method`.
          TypeError: for a declaration that does not exist.
        """
        of_method, of_resource = split_declarations(declarations)
        return self.resource(path, **of_resource).method(code, **of_method)

    def get(self, path: str, **declarations: Unpack[Declarations]) -> Callable[[F], F]:
        """Make the decorated function answer GET at *path*; see :meth:`method`."""
        return self.method(Code.GET, path, **declarations)

    def post(self, path: str, **declarations: Unpack[Declarations]) -> Callable[[F], F]:
        """Make the decorated function answer POST at *path*; see :meth:`method`."""
        return self.method(Code.POST, path, **declarations)

    def put(self, path: str, **declarations: Unpack[Declarations]) -> Callable[[F], F]:
        """Make the decorated function answer PUT at *path*; see :meth:`method`."""
        return self.method(Code.PUT, path, **declarations)

    def delete(self, path: str, **declarations: Unpack[Declarations]) -> Callable[[F], F]:
        """Make the decorated function answer DELETE at *path*; see :meth:`method`."""
        return self.method(Code.DELETE, path, **declarations)

    def fetch(self, path: str, **declarations: Unpack[Declarations]) -> Callable[[F], F]:
        """Make the decorated function answer FETCH at *path*; see :meth:`method`."""
        return self.method(Code.FETCH, path, **declarations)

    def patch(self, path: str, **declarations: Unpack[Declarations]) -> Callable[[F], F]:
        """Make the decorated function answer PATCH at *path*; see :meth:`method`."""
        return self.method(Code.PATCH, path, **declarations)

    def ipatch(self, path: str, **declarations: Unpack[Declarations]) -> Callable[[F], F]:
        """Make the decorated function answer iPATCH at *path*; see :meth:`method`."""
        return self.method(Code.IPATCH, path, **declarations)

    def mount(self, path: str, site: Site) -> None:
        """Put the resources of *site*, present and future, below *path*.

        Raises:
          LocalProtocolError: if *path* is malformed, or there are resources below it already.
        """
        mount(self._root, path, site._root)

    def add_links(self, links: Callable[[], Iterable[Link]]) -> None:
        """Have further links listed at ``/.well-known/core``.

        Example::

            site.add_links(lambda: [Link(f"/lamps/{number}", {"rt": "light"}) for number in lamps])

        Args:
          links: a plain function that is called whenever the resources are listed, such as for the resources that a
            template with parameters stands for.  If this site is mounted, targets and anchors that start with a slash
            are meant below its path.
        """
        self._root.further_links.append(links)

    def understands(self, request: Request) -> frozenset[int]:
        """Return the numbers of the critical options that are processed for *request*."""
        found = self._find(request)
        return frozenset() if found is None else found[0].understands(request)

    def answers_group(self, request: Request) -> bool:
        """See :class:`trio_coap.server.groups.GroupHandler`."""
        found = self._find(request)
        return found is None or found[0].answers_groups

    def __call__(self, request: Request) -> Result:
        """Answer *request*.

        Raises:
          NotFound: if there is no resource at its path.
          MethodNotAllowed: if the resource lacks its method.
          ResponseError: see :mod:`trio_coap.server.resource`.
        """
        found = self._find(request)
        if found is None:
            raise NotFound("there is nothing at /" + "/".join(request.options.uri_path))
        resource, parameters = found
        return resource.handle(request, parameters)

    def find_observable(self, request: Request) -> tuple[Observable, dict[str, object]] | None:
        """See :class:`trio_coap.server.observable.ObservableHandler`."""
        found = self._find(request)
        if found is None or found[0].observable is None:
            return None
        return found[0].observable, found[1]

    def find_handler(self, request: Request) -> ResourceHandler | None:
        """Return the handler that answers *request*, or None if there is none."""
        found = self._find(request)
        return None if found is None else found[0].find_handler(request)

    def _find(self, request: Request) -> Found | None:
        # Several look-ups for one request come one after the other, and equal requests share their options.
        options, last = request.options, self._last
        if last[0] is options and last[1] == Routes.changes:
            return last[2]
        found = self._find_path(options.uri_path)
        self._last = options, Routes.changes, found
        return found

    def _find_path(self, path: tuple[str, ...]) -> Found | None:
        if path == WELL_KNOWN_CORE and self._core is not None:
            # Like any literal path, it goes before parameters.
            node: Node | None = self._root
            for segment in path:
                node = None if node is None else node.children.get(segment)
            if node is None or node.resource is None:
                return self._core, {}
        return self._routes.find(path)
