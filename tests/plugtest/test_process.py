"""``coap plugtest`` as a process: how it starts, what it prints, how it ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from tests.client.support import open_peer
from tests.interop.peers import is_pinged
from tests.plugtest.rawclient import CONTENT_FORMAT, GET, open_raw_client
from tests.server.stage import make_request
from trio_coap import Code, Response
from trio_coap.cli.main import main
from trio_coap.cli.parser import read_words
from trio_coap.cli.plugtest import serve_plugtest
from trio_coap.cli.problems import UsageError
from trio_coap.testing import VirtualEndpoint, VirtualNetwork

PATIENCE = 60
"""Seconds after which a process hangs."""

pytestmark = pytest.mark.slow


@contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """Run the command until it listens, and say where."""
    command = (sys.executable, "-m", "trio_coap", "plugtest", *words)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            match = re.fullmatch(r"listening on coap://\[?([^\]]+?)\]?:(\d+)\n", line)
            assert match is not None, (line, process.poll())
            yield process, match[1], int(match[2])
        finally:
            process.kill()


async def test_it_says_where_it_listens_and_answers_there() -> None:
    with started("--bind", "127.0.0.1:0", "--period", "0.1") as (process, host, port):
        assert host == "127.0.0.1"
        async with open_raw_client((host, port)) as client:
            first = await client.ask(GET, "/obs")
            assert (first.code, first.number(CONTENT_FORMAT)) == ("2.05", 0)
            # The usual delay of a separate response, and its ACK at once.
            request = client.make(GET, "/separate")
            await client.send(request)
            assert (await client.receive(seconds=0.9)).code == "0.00"
            await client.acknowledge(await client.receive())
            assert (await client.ask(GET, "/obs")).payload != first.payload
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


async def test_a_client_from_elsewhere_is_not_challenged(
    coap_network: VirtualNetwork, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """ETSI's clients do not know the Echo option (RFC 9175)."""
    endpoint = await nursery.start(open_on, coap_network)
    await nursery.start(partial(serve_plugtest, endpoint=endpoint))
    with open_peer(coap_network) as peer:
        peer.send(make_request("large"), endpoint.remote)
        response = await peer.receive()
    assert isinstance(response, Response)
    assert (response.code, len(response.payload)) == (Code.CONTENT, 1024)
    nursery.cancel_scope.cancel()


async def open_on(
    network: VirtualNetwork, task_status: trio.TaskStatus[VirtualEndpoint] = trio.TASK_STATUS_IGNORED
) -> None:
    async with network.open_endpoint("server", 5683) as endpoint:
        task_status.started(endpoint)
        await trio.sleep_forever()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_status_0(number: signal.Signals) -> None:
    with started("--bind", ":0") as (process, host, port):
        assert is_pinged(host, port)
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_an_address_that_is_taken_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with started("--bind", "127.0.0.1:0") as (_, _, port):
        assert main(["plugtest", "--bind", f"127.0.0.1:{port}"]) == 1
    assert capsys.readouterr().err == "coap: the system says: Address already in use\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":5683", (None, 5683)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:61616", ("::1", 61616)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
    ],
)
def test_an_address_can_be_written(text: str, expected: tuple[str | None, int]) -> None:
    assert read_words(["plugtest", "--bind", text]).bind == expected


@pytest.mark.parametrize("words", [["--bind", text] for text in ("", "5683", "::1:5683", ":65536", "[]:1", "a:b")])
def test_what_is_no_address_is_said(words: list[str]) -> None:
    with pytest.raises(UsageError, match="no address to listen on"):
        read_words(["plugtest", *words])


def test_a_period_is_a_time() -> None:
    assert read_words(["plugtest", "--period", "0.5"]).period == 0.5
    with pytest.raises(UsageError, match="not a number"):
        read_words(["plugtest", "--period", "0"])
