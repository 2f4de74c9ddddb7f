"""The tree of paths: from templates and paths to resources (:rfc:`7252` section 6).

Rule 1: literal segments go before parameters, and those before a rest.  Rule 2: finding a resource is a look-up for each
segment, however many resources there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, final

from trio_coap.server.resource import Resource
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.linkformat import Link
from trio_coap.wire.patterns import lazy_pattern

PARAMETER = lazy_pattern(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(?::([a-z]+))?\}")
_INTEGER = lazy_pattern(r"-?[0-9]{1,19}")


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
        node.rest = (name, Resource(path))
    elif node.rest[0] != name:
        raise LocalProtocolError(f"{{{name}:path}} in {path!r} stands where {node.rest[0]!r} stands elsewhere")
    return node.rest[1]


def find_resource(
    node: Node, path: tuple[str, ...], position: int, parameters: dict[str, Any]
) -> tuple[Resource, dict[str, Any]] | None:
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
