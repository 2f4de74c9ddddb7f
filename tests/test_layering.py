"""Imports point down only, and the pure layers stay pure (docs/house.md).

The rules are the tables below; the checker reads the source with :mod:`ast` and imports nothing.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "trio_coap"

# The package itself only re-exports, so it stands above what it re-exports.
ROOT = ""

# Floor by floor, from the ground up.  Rooms on one floor do not know each other.
LEVELS = {
    "wire": 0,
    "messaging": 1,
    "transports": 2,
    "client": 3,
    "server": 3,
    "security": 3,
    ROOT: 4,
    "proxy": 5,
    "directory": 5,
    "cli": 5,
    "__main__": 6,
    "testing": 6,
}

# The exceptions among rooms on one floor: the command starts the other programs.
NEIGHBOURS = {("cli", "proxy"), ("cli", "directory")}

# Shipped to users; no room needs it.
NOBODY_IMPORTS = {"testing"}

PURE_ROOMS = {"wire", "messaging"}

# Event loops, clocks, randomness and I/O: a pure room gets `now` and `rng` as arguments.
FORBIDDEN_IN_PURE_ROOMS = {"asyncio", "random", "secrets", "select", "selectors", "time", "trio"}

# Constants and conversions between text and bytes; nothing here opens a socket or asks the system.
PURE_SOCKET_NAMES = {"AddressFamily", "inet_ntop", "inet_pton"}
PURE_SOCKET_PREFIXES = ("AF_", "IPPROTO_")


def room_of(module: str) -> str:
    """The room of a module of the package: the part after ``trio_coap.``, or :data:`ROOT`."""
    return module.partition(".")[2].partition(".")[0]


class Checker(ast.NodeVisitor):
    """Collects what one module of the package imports against the rules."""

    def __init__(self, source: str, *, module: str, path: str, is_package: bool = False) -> None:
        self.module = module
        self.path = path
        self.package = module if is_package else module.rpartition(".")[0]
        self.room = room_of(module)
        self.violations: list[str] = []
        self.socket_names: set[str] = set()
        self.type_checking = False
        tree = ast.parse(source, filename=path)
        if self.room not in LEVELS:
            self.report(1, f"{module} stands in no room of the house")
            return
        self.visit(tree)
        if self.room in PURE_ROOMS:
            self.check_socket_uses(tree)

    def report(self, line: int, text: str) -> None:
        self.violations.append(f"{self.path}:{line}: {text}")

    def visit_If(self, node: ast.If) -> None:
        is_guard = ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        before = self.type_checking
        self.type_checking = before or is_guard
        for child in node.body:
            self.visit(child)
        self.type_checking = before
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name == "socket":
                self.socket_names.add(alias.asname or alias.name)
            else:
                self.check(node.lineno, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        origin = self.absolute(node)
        for alias in node.names:
            if origin == PACKAGE and alias.name in LEVELS:
                self.check(node.lineno, f"{PACKAGE}.{alias.name}")
            elif origin == "socket":
                self.check_socket_name(node.lineno, alias.name)
            elif not (origin == "random" and alias.name == "Random" and self.type_checking):
                # The type of an `rng` argument may be named; a generator may not be made.
                self.check(node.lineno, origin)

    def absolute(self, node: ast.ImportFrom) -> str:
        """The module that ``from ... import`` names, with leading dots resolved."""
        if node.level == 0:
            return node.module or ""
        parts = self.package.split(".")
        base = parts[: len(parts) - (node.level - 1)]
        return ".".join(base + ([node.module] if node.module else []))

    def check(self, line: int, target: str) -> None:
        top = target.partition(".")[0]
        if top == PACKAGE:
            self.check_room(line, target)
        elif self.room in PURE_ROOMS and top in FORBIDDEN_IN_PURE_ROOMS:
            self.report(line, f"{self.room} is pure and does not import {top}")

    def check_room(self, line: int, target: str) -> None:
        room = room_of(target)
        if room == self.room:
            return
        if room not in LEVELS:
            self.report(line, f"{target} stands in no room of the house")
        elif room in NOBODY_IMPORTS:
            self.report(line, f"{self.module} imports {target}, which nothing imports")
        elif LEVELS[room] > LEVELS[self.room]:
            self.report(line, f"{self.module} imports {target}, which stands above it")
        elif LEVELS[room] == LEVELS[self.room] and (self.room, room) not in NEIGHBOURS:
            self.report(line, f"{self.module} imports {target}, which stands beside it")

    def check_socket_name(self, line: int, name: str) -> None:
        is_pure = name in PURE_SOCKET_NAMES or name.startswith(PURE_SOCKET_PREFIXES)
        if self.room in PURE_ROOMS and not is_pure:
            self.report(line, f"{self.room} is pure and does not use socket.{name}")

    def check_socket_uses(self, tree: ast.Module) -> None:
        """Look at every use of ``socket``: which attribute, or worse, the module as a value."""
        of_attributes = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and self.is_socket(node.value):
                of_attributes.add(id(node.value))
                self.check_socket_name(node.lineno, node.attr)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and self.is_socket(node) and id(node) not in of_attributes:
                self.report(node.lineno, f"{self.room} is pure and does not pass the socket module on")

    def is_socket(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id in self.socket_names


def violations_in_file(path: Path) -> list[str]:
    relative = path.relative_to(REPOSITORY)
    parts = list(relative.with_suffix("").parts)
    is_package = parts[-1] == "__init__"
    if is_package:
        parts.pop()
    source = path.read_text(encoding="utf-8")
    return Checker(source, module=".".join(parts), path=str(relative), is_package=is_package).violations


def source_files() -> list[Path]:
    return sorted((REPOSITORY / PACKAGE).rglob("*.py"))


def test_there_is_something_to_check() -> None:
    checked = {room_of(".".join(path.relative_to(REPOSITORY).with_suffix("").parts)) for path in source_files()}
    assert checked >= PURE_ROOMS


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_point_down_only(path: Path) -> None:
    found = violations_in_file(path)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("trio_coap.wire.codes", "import trio_coap.messaging.cache", "which stands above it"),
        ("trio_coap.wire.codes", "from ..messaging import cache", "which stands above it"),
        ("trio_coap.wire.codes", "from .. import messaging", "trio_coap.messaging, which stands above it"),
        ("trio_coap.wire.codes", "from trio_coap import Message", "trio_coap, which stands above it"),
        ("trio_coap.wire.codes", "def f():\n    from trio_coap.client import get", "which stands above it"),
        ("trio_coap.messaging.cache", "from trio_coap.transports.udp import driver", "which stands above it"),
        ("trio_coap.client.core", "from ..server import site", "which stands beside it"),
        ("trio_coap.proxy.forward", "from ..cli import main", "which stands beside it"),
        ("trio_coap.proxy.forward", "from ..cellar import wine", "stands in no room"),
        ("trio_coap.cellar.wine", "", "stands in no room"),
        ("trio_coap.cli.main", "from trio_coap import testing", "which nothing imports"),
        ("trio_coap.cli.main", "import trio_coap.testing.network", "which nothing imports"),
        ("trio_coap.messaging.cache", "import trio", "does not import trio"),
        ("trio_coap.messaging.cache", "from trio.lowlevel import checkpoint", "does not import trio"),
        ("trio_coap.messaging.cache", "import asyncio.events as loop", "does not import asyncio"),
        ("trio_coap.wire.message", "from time import monotonic", "does not import time"),
        ("trio_coap.wire.message", "import select", "does not import select"),
        ("trio_coap.wire.message", "import random", "does not import random"),
        ("trio_coap.wire.message", "from random import Random", "does not import random"),
        ("trio_coap.wire.message", "if TYPE_CHECKING:\n    import random", "does not import random"),
        (
            "trio_coap.wire.message",
            "if TYPE_CHECKING:\n    pass\nelse:\n    from random import Random",
            "does not import random",
        ),
        ("trio_coap.wire.uri", "from socket import AF_INET, socket", "does not use socket.socket"),
        ("trio_coap.wire.uri", "from socket import *", "does not use socket.*"),
        ("trio_coap.wire.uri", "import socket\nsocket.getaddrinfo('h', 1)", "does not use socket.getaddrinfo"),
        ("trio_coap.wire.uri", "import socket as s\ns.socket()", "does not use socket.socket"),
        ("trio_coap.wire.uri", "import socket\nmake = socket", "does not pass the socket module on"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str, expected: str) -> None:
    found = Checker(source, module=module, path="planted.py").violations
    assert len(found) == 1
    assert expected in found[0]


def test_a_violation_names_file_and_line() -> None:
    source = '"""A module."""\n\nimport os\nimport time\n'
    found = Checker(source, module="trio_coap.wire.codes", path="trio_coap/wire/codes.py").violations
    assert found == ["trio_coap/wire/codes.py:4: wire is pure and does not import time"]


def test_a_relative_import_in_a_package_file_starts_at_the_package() -> None:
    source = "from ..client import core\nfrom .codes import Code\n"
    found = Checker(source, module="trio_coap.wire", path="trio_coap/wire/__init__.py", is_package=True).violations
    assert found == [
        "trio_coap/wire/__init__.py:1: trio_coap.wire imports trio_coap.client, which stands above it",
    ]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("trio_coap.messaging.cache", "from ..wire.message import Message"),
        ("trio_coap.messaging.cache", "from .parameters import TransmissionParameters"),
        ("trio_coap.messaging.cache", "from .. import wire"),
        ("trio_coap.messaging.cache", "if TYPE_CHECKING:\n    from random import Random"),
        ("trio_coap.messaging.cache", "if typing.TYPE_CHECKING:\n    from random import Random"),
        ("trio_coap.wire.uri", "from socket import AF_INET, AF_INET6, inet_ntop, inet_pton"),
        ("trio_coap.wire.uri", "import socket\nsocket.inet_pton(socket.AF_INET6, '::1')"),
        ("trio_coap.transports.udp", "import random, socket, time, trio\nsocket.socket()"),
        ("trio_coap.cli.main", "from trio_coap import open_client, serve"),
        ("trio_coap.cli.main", "from ..proxy import forward"),
        ("trio_coap.testing.network", "from ..transports.udp import SocketEndpoint"),
        ("trio_coap.testing.plugin", "from .network import Network"),
        ("trio_coap", "from .client import open_client"),
        ("trio_coap.__main__", "from .cli.main import main"),
    ],
)
def test_what_the_rules_allow_is_not_reported(module: str, source: str) -> None:
    found = Checker(source, module=module, path="allowed.py", is_package=module == PACKAGE).violations
    assert found == []
