"""The examples of the README do what they say."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_coap import Server, open_client, serve

README = Path(__file__).parent.parent / "README.md"


def python_blocks() -> list[str]:
    """The Python examples, in the order of the page: client, server, states and long bodies, test."""
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


class RecordedRun:
    """Stands in for ``trio.run``: what the example would run is kept for the test."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *call: Any) -> None:
        self.calls.append(call)


def execute(block: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], RecordedRun]:
    recorded = RecordedRun()
    namespace: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.setattr(trio, "run", recorded)
        exec(compile(block, str(README), "exec"), namespace)
    return namespace, recorded


def test_readme_has_client_server_and_test() -> None:
    blocks = python_blocks()
    assert len(blocks) == 4
    assert "open_client()" in blocks[0]
    assert "trio.run(serve, site)" in blocks[1]
    assert "observe(" in blocks[2]
    assert "open_pair(" in blocks[3]


async def test_client_example_talks_to_server_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client_block, server_block, *_ = python_blocks()
    namespace, recorded = execute(server_block, monkeypatch)
    ((run_function, site),) = recorded.calls
    assert run_function is serve
    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(partial(serve, site, "::1", 0))
        # The example has the default port, which may be taken where the tests run.
        client, recorded = execute(client_block.replace("coap://[::1]", server.uri), monkeypatch)
        assert recorded.calls == [(client["main"],)]
        await client["main"]()
        nursery.cancel_scope.cancel()
    assert capsys.readouterr().out == "2.05 Content off\n"
    assert namespace["lamps"][1] == "on"


async def test_states_and_long_bodies_come_from_the_server_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, server_block, block, _ = python_blocks()
    namespace, _ = execute(server_block, monkeypatch)
    namespace["site"].get("/firmware")(lambda request: bytes(5000))
    async with open_client() as client, trio.open_nursery() as nursery:
        server: Server = await nursery.start(partial(serve, namespace["site"], "::1", 0))
        examples, _ = execute(block.replace("coap://[::1]", server.uri), monkeypatch)
        nursery.start_soon(examples["watch"], client)
        while server.statistics().observers == 0:
            await client.get(f"{server.uri}/lamps/1")
        await client.put(f"{server.uri}/lamps/1", "on")
        await examples["download"](client, tmp_path / "firmware")
        nursery.cancel_scope.cancel()
    assert capsys.readouterr().out.startswith("off\non\n")
    assert (tmp_path / "firmware").read_bytes() == bytes(5000)


async def test_test_example_passes(monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock) -> None:
    _, server_block, _, test_block = python_blocks()
    namespace, _ = execute(server_block, monkeypatch)
    exec(compile(test_block, str(README), "exec"), namespace)
    await namespace["test_lamp"](autojump_clock)
    assert namespace["lamps"] == {1: "off", 2: "off"}
