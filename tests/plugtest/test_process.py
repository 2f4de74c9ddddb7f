"""``coap plugtest`` as a process: how it starts, what it prints, how it ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.interop.peers import is_pinged
from tests.plugtest.rawclient import CONTENT_FORMAT, GET, open_raw_client
from trio_coap.cli.main import main
from trio_coap.cli.parser import read_words
from trio_coap.cli.problems import UsageError

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
