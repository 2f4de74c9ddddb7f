"""The tree of paths: from templates and paths to resources (:rfc:`7252` section 6).

Rule 1: literal segments go before parameters, and those before a rest.  Rule 2: finding a resource is a look-up for each
segment, however many resources there are.  Rule 3: what was found is remembered until any tree changes; trees are made
before they are asked, and few paths are asked for again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, final

from trio_coap.server.resource import Resource
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.linkformat import Link
from trio_coap.wire.patterns import lazy_pattern
from trio_coap.wire.recent import Recent

PARAMETER = lazy_pattern(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(?::([a-z]+))?\}")
_INTEGER = lazy_pattern(r"-?[0-9]{1,19}")

MAX_REMEMBERED_PATHS = 1024
MAX_REMEMBERED_LENGTH = 64
"""So many paths, of so many characters at most, are remembered for one site, or twice as many: clients choose what stands for
a parameter."""

Found = tuple[Resource, dict[str, Any]]
"""A resource, and the parameters of its template, which nobody changes."""


@final
class Node:
    """A place in the tree of paths."""

    __slots__ = ("children", "further_links", "parameter", "resource", "rest")

    parameter: tuple[str, str, Node] | None
    """Name, kind and node of the parameter segment, if there is one."""
    rest: tuple[str, Resource] | None
    """Name of the parameter that takes all further segments, and who answers."""
    further_links: list[Callable[[], Iterable[Link]]]
    """Of the root of a site: what is listed beside its resources."""

    def __init__(self) -> None:
        self.children: dict[str, Node] = {}
        self.parameter = None
        self.rest = None
        self.resource: Resource | None = None
        self.further_links = []


@final
class Routes:
    """Finds resources below one root.

    Attributes:
      changes: how often any tree was changed; a tree does not know where it is mounted.
    """

    changes: ClassVar[int] = 0

    def __init__(self, root: Node) -> None:
        """Find what is below *root*, now or later."""
        self._root = root
        self._remembered: Recent[tuple[str, ...], Found] = Recent(MAX_REMEMBERED_PATHS)
        self._remembered_at = 0

    def find(self, path: tuple[str, ...]) -> Found | None:
        """Return the resource at *path*, with the parameters of its template."""
        remembered = self._remembered
        if self._remembered_at != Routes.changes:
            self._remembered_at = Routes.changes
            remembered.clear()
        found = remembered.young.get(path) or remembered.find(path)
        if found is None:
            found = find_resource(self._root, path, 0, {})
            if found is not None and sum(map(len, path)) <= MAX_REMEMBERED_LENGTH:
                remembered.put(path, found)
        return found


def mount(root: Node, path: str, mounted: Node) -> None:
    """Put the tree of *mounted* below *path*.

    Raises:
      LocalProtocolError: if *path* is malformed, or there are resources below it already.
    """
    *above, last = split_path(path) or [""]
    node = descend(root, above, path)
    if not last or PARAMETER.fullmatch(last):
        raise LocalProtocolError(f"a site is mounted below a literal segment, which {path!r} does not end with")
    if last in node.children:
        raise LocalProtocolError(f"there are resources below {path!r} already")
    Routes.changes += 1
    node.children[last] = mounted


def split_path(path: str) -> list[str]:
    """Return the segments of a template.

    Raises:
      LocalProtocolError: if it does not start with a slash, or a parameter stands in it twice.
    """
    if not path.startswith("/"):
        raise LocalProtocolError(f"a path starts with a slash, unlike {path!r}")
    segments = path[1:].split("/") if len(path) > 1 else []
    names = [match[1] for match in map(PARAMETER.fullmatch, segments) if match is not None]
    if len(set(names)) < len(names):
        raise LocalProtocolError(f"a parameter stands twice in {path!r}")
    return segments


def make_resource(root: Node, path: str) -> Resource:
    """Return the resource at the template *path*, made if it is not there yet.

    Raises:
      LocalProtocolError: if the template is malformed, or contradicts another one.
    """
    segments = split_path(path)
    last = PARAMETER.fullmatch(segments[-1]) if segments else None
    if last is not None and last[2] == "path":
        return _rest_resource(descend(root, segments[:-1], path), last[1], path)
    node = descend(root, segments, path)
    if node.resource is None:
        Routes.changes += 1
        node.resource = Resource(path)
    return node.resource


def descend(node: Node, segments: list[str], path: str) -> Node:
    """Return the node at *segments* below *node*, made if it is not there yet; *path* is for messages.

    Raises:
      LocalProtocolError: if a segment is malformed, or contradicts another template.
    """
    for segment in segments:
        match = PARAMETER.fullmatch(segment)
        if match is not None:
            node = _parameter_node(node, match[1], match[2] or "str", path)
        elif "{" in segment or "}" in segment:
            raise LocalProtocolError(f"{segment!r} in {path!r} is no parameter; write {{name}} or {{name:int}}")
        else:
            node = node.children.setdefault(segment, Node())
    return node


def _parameter_node(node: Node, name: str, kind: str, path: str) -> Node:
    if kind not in ("str", "int"):
        raise LocalProtocolError(f"the kind {kind!r} in {path!r} is none of str, int and, at the end, path")
    if node.parameter is None:
        node.parameter = (name, kind, Node())
    elif node.parameter[:2] != (name, kind):
        raise LocalProtocolError(f"{{{name}:{kind}}} in {path!r} stands where {node.parameter[0]!r} stands elsewhere")
    return node.parameter[2]


def _rest_resource(node: Node, name: str, path: str) -> Resource:
    if node.rest is None:
        Routes.changes += 1
        node.rest = (name, Resource(path))
    elif node.rest[0] != name:
        raise LocalProtocolError(f"{{{name}:path}} in {path!r} stands where {node.rest[0]!r} stands elsewhere")
    return node.rest[1]


def find_resource(node: Node, path: tuple[str, ...], position: int, parameters: dict[str, Any]) -> Found | None:
    """Return the resource at *path* from *position* on, with the parameters of its template."""
    if position == len(path):
        return None if node.resource is None else (node.resource, parameters)
    segment = path[position]
    child = node.children.get(segment)
    if child is not None:
        found = find_resource(child, path, position + 1, parameters)
        if found is not None:
            return found
    if node.parameter is not None:
        name, kind, below = node.parameter
        if kind == "str" or _INTEGER.fullmatch(segment):
            value = segment if kind == "str" else int(segment)
            found = find_resource(below, path, position + 1, {**parameters, name: value})
            if found is not None:
                return found
    if node.rest is not None:
        name, resource = node.rest
        return resource, {**parameters, name: path[position:]}
    return None


def walk(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Iterate over all places that can be reached by literal segments alone, each with its path."""
    yield path, node
    for segment, child in node.children.items():
        yield from walk(child, (*path, segment))
