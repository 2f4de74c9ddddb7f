"""What importing one thing imports beside it: each in a fresh process, by the modules that are there afterwards."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import trio_coap
import trio_coap.client
import trio_coap.server
import trio_coap.testing

ROOT = Path(__file__).resolve().parents[1]

WITH_ALL: tuple[ModuleType, ...] = (trio_coap, trio_coap.client, trio_coap.server, trio_coap.testing)
LAZY: tuple[ModuleType, ...] = (trio_coap, trio_coap.testing)


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.rpartition("\n\n")[2]


def modules_after(program: str) -> set[str]:
    return set(run(f"{program}\nimport sys\nprint()\nprint(*sys.modules)").split())


def ours(modules: set[str]) -> set[str]:
    return {module for module in modules if module.startswith("trio_coap")}


def main_with(word: str) -> str:
    return f"from trio_coap.cli.main import main\nmain([{word!r}])"


def test_the_package_alone_imports_nothing() -> None:
    modules = modules_after("import trio_coap")
    assert ours(modules) == {"trio_coap"}
    assert not modules & {"trio", "attrs"}


def test_the_version_is_there_without_event_loop_and_engine() -> None:
    modules = modules_after("from trio_coap.cli.problems import CommandFailure\n" + main_with("--version"))
    assert not modules & {"trio", "attrs", "difflib", "json", "trio_coap.messaging", "trio_coap.client"}


def test_the_help_needs_no_event_loop_no_engine_and_no_metadata() -> None:
    modules = modules_after(main_with("--help"))
    assert not modules & {"trio", "attrs", "importlib.metadata", "trio_coap.messaging", "trio_coap.client"}


def test_the_plugin_of_pytest_imports_no_engine() -> None:
    modules = modules_after("import trio_coap.testing.plugin")
    assert ours(modules) == {"trio_coap", "trio_coap.testing", "trio_coap.testing.plugin"}
    assert "trio" not in modules


NOT_AT_ONCE = {
    "difflib",
    "json",
    "trio_coap.client.cache",
    "trio_coap.messaging.statistics",
    "trio_coap.server.statistics",
    "trio_coap.wire.problems",
}
"""What few programs use, and who does waits for a millisecond."""


def test_a_client_imports_no_server_and_nothing_that_few_use() -> None:
    modules = modules_after("from trio_coap import open_client")
    assert not modules & (NOT_AT_ONCE | {"trio_coap.client.discovery", "trio_coap.wire.linkformat"})
    assert not any(module.startswith("trio_coap.server") for module in modules)


def test_a_server_imports_nothing_that_few_use() -> None:
    assert not modules_after("from trio_coap import serve, Site") & NOT_AT_ONCE


def test_no_pattern_is_compiled_by_importing() -> None:
    program = """
import re, trio, attrs, urllib.parse
re.compile = lambda *arguments: 1 / 0
from trio_coap import *
"""
    assert "trio_coap.wire.linkformat" in modules_after(program)


@pytest.mark.parametrize("name", ["Endpoint", "LocalEndpoint"])
def test_an_endpoint_alone_has_a_resolver(name: str) -> None:
    program = f"import trio\nfrom trio_coap import {name}\nprint()\nprint(trio.run({name}.resolve, '192.0.2.1'))"
    assert "192.0.2.1" in run(program)


def test_the_rooms_are_attributes() -> None:
    names = "client", "messaging", "server", "transports", "wire"
    program = f"import trio_coap\nprint()\nprint(*[getattr(trio_coap, name).__name__ for name in {names}])"
    assert run(program).split() == [f"trio_coap.{name}" for name in names]


@pytest.mark.parametrize("module", WITH_ALL, ids=lambda module: module.__name__)
def test_every_name_is_there(module: ModuleType) -> None:
    assert all(getattr(module, name) is not None for name in module.__all__)
    assert set(module.__all__) <= {*dir(module), "CacheStatistics", "ResponseCache", "ServerStatistics"}


@pytest.mark.parametrize("module", WITH_ALL, ids=lambda module: module.__name__)
def test_an_unknown_name_is_an_attribute_error_that_names_it(module: ModuleType) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Cleint'"):
        module.Cleint  # noqa: B018


@pytest.mark.parametrize("module", LAZY, ids=lambda module: module.__name__)
def test_type_checkers_read_what_is_there(module: ModuleType) -> None:
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    guarded = [node for statement in tree.body if isinstance(statement, ast.If) for node in statement.body]
    read = {alias.name: node.module for node in guarded if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert read == module._MODULES
    assert set(read) == set(module.__all__)


@pytest.mark.parametrize("module", LAZY, ids=lambda module: module.__name__)
def test_each_name_is_what_its_module_has(module: ModuleType) -> None:
    for name, origin in module._MODULES.items():
        assert getattr(module, name) is getattr(import_module(origin), name)
