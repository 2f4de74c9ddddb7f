"""``coap serve`` as a process: where it listens, how it ends, and what the clients of others see."""

from __future__ import annotations

import argparse
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.cli.test_process import PATIENCE, started
from tests.interop.peers import LIBCOAP_CLIENT, NEEDS_AIOCOAP, NEEDS_LIBCOAP, aiocoap_client
from trio_coap import Block, Code, Request
from trio_coap.cli.arguments import address as address_of
from trio_coap.cli.serve import claim_descriptors
from trio_coap.wire.codes import CON
from trio_coap.wire.message import decode_message_untrusted, encode_message

LONG = bytes(range(256)) * 20


@contextmanager
def serving(directory: Path, *words: str, descriptors: int = 0) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Serve *directory*, and give the process and the URI that it says."""
    with started("serve", str(directory), "--bind", "127.0.0.1:0", *words, descriptors=descriptors) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("listening on coap://127.0.0.1:")
        yield process, line.split()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_ends_it_well(coap, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "a.txt").write_text("content")
    with serving(tmp_path, "-v") as (process, uri):
        assert coap("get", f"{uri}/a.txt").stdout == b"content"
        assert coap("put", f"{uri}/a.txt", "-d", "x").stderr.startswith("coap: 4.05 Method Not Allowed")
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        assert process.stderr is not None
        log = process.stderr.read().decode()
    assert [line.split(" ", 2)[2] for line in log.splitlines()] == [
        "GET /a.txt: 2.05 Content",
        "PUT /a.txt: 4.05 Method Not Allowed",
    ]


@NEEDS_LIBCOAP
@pytest.mark.interop
def test_libcoap_writes_reads_and_observes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(LONG)
    directory = tmp_path / "served"
    directory.mkdir()
    client = str(shutil.which(LIBCOAP_CLIENT))
    with serving(directory, "--write") as (_, uri):
        subprocess.run(
            (client, "-B", "10", "-b", "64", "-m", "put", "-f", str(source), f"{uri}/long.bin"),
            check=True,
            timeout=PATIENCE,
        )
        assert (directory / "long.bin").read_bytes() == LONG
        got = tmp_path / "got"
        subprocess.run((client, "-B", "10", "-o", str(got), f"{uri}/long.bin"), check=True, timeout=PATIENCE)
        assert got.read_bytes() == LONG
        (directory / "state").write_text("before")
        words = (client, "-s", "5", "-B", "8", "-w", f"{uri}/state")
        with subprocess.Popen(words, stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdout is not None
            assert process.stdout.read(6) == b"before"
            (directory / "new").write_text("after")
            (directory / "new").rename(directory / "state")
            shown = b""
            while b"after" not in shown:
                piece = process.stdout.read(64)
                assert piece, shown
                shown += piece
            process.terminate()


@NEEDS_AIOCOAP
@pytest.mark.interop
async def test_aiocoap_writes_and_reads(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(LONG)
    directory = tmp_path / "served"
    directory.mkdir()
    with serving(directory, "--write") as (_, uri):
        done = await aiocoap_client("-m", "PUT", "--payload", f"@{source}", f"{uri}/long.bin")
        assert done.status == 0, done.stderr
        assert (directory / "long.bin").read_bytes() == LONG
        done = await aiocoap_client("-q", f"{uri}/long.bin")
        assert done.payload == LONG


def test_a_transfer_that_a_signal_cuts_off_leaves_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "served"
    directory.mkdir()
    source = tmp_path / "source"
    source.write_bytes(bytes(1 << 20))
    with serving(directory, "--write") as (server, uri):
        with started("put", f"{uri}/long.bin", "-d", f"@{source}", "--block-size", "16") as client:
            give_up_at = time.monotonic() + PATIENCE
            while not list(directory.iterdir()):
                assert time.monotonic() < give_up_at
                time.sleep(0.01)
            server.send_signal(signal.SIGINT)
            assert server.wait(PATIENCE) == 0
            client.kill()
        assert list(directory.iterdir()) == []


def test_a_port_that_is_taken_is_one_sentence(coap, silent, tmp_path: Path) -> None:
    host, port = silent.getsockname()
    outcome = coap("serve", str(tmp_path), "--bind", f"{host}:{port}")
    assert (outcome.status, outcome.stdout) == (1, b"")
    assert outcome.stderr == (
        f"coap: listening on {host}:{port} is not possible, as somebody listens there already: "
        "choose another port, or --bind :0 for one that is free\n"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["/nowhere"], "the directory '/nowhere' cannot be served: No such file or directory"),
        (["/dev/null"], "the directory '/dev/null' cannot be served: Not a directory"),
        (["/tmp", "--bind", "a:b"], "'a:b' is no address to listen on: write :5683, 127.0.0.1:5683 or"),
        (["/tmp", "--max-body", "0"], "'0' is not a whole number from 1 to"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(coap, words: list[str], sentence: str) -> None:
    outcome = coap("serve", *words)
    assert (outcome.status, outcome.stdout) == (2, b"")
    assert sentence in outcome.stderr


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":5683", (None, 5683)),
        (":0", (None, 0)),
        ("127.0.0.1", ("127.0.0.1", 5683)),
        ("localhost:61616", ("localhost", 61616)),
        ("[::1]:1234", ("::1", 1234)),
        ("[fe80::1%lo]", ("fe80::1%lo", 5683)),
    ],
)
def test_an_address_to_listen_on(text: str, address: tuple[str | None, int]) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize("text", ["", "::1", ":65536", "host:", "[::1", "a:b"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        address_of(text)


@pytest.mark.parametrize(
    ("granted", "most", "bodies"),
    [(256, 256, 32), (256, 100_000, 1000), (100_000, 100_000, 1000), (200, 400, 80), (-1, -1, 1000), (20, 20, 1)],
)
def test_as_many_bodies_are_open_as_there_are_descriptors_for(
    monkeypatch: pytest.MonkeyPatch, granted: int, most: int, bodies: int
) -> None:
    limits = [(granted, most)]
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, wanted: limits.append(wanted))
    assert claim_descriptors() == bodies


def test_unfinished_uploads_leave_files_to_others(coap, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("content")
    with serving(tmp_path, "--write", descriptors=DESCRIPTORS) as (_, uri), ExitStack() as opened:
        answers = Counter(begin_upload(opened, uri, number) for number in range(DESCRIPTORS))
        assert coap("get", f"{uri}/a.txt").stdout == b"content"
    assert {code for code, _ in answers} == {Code.CONTINUE, Code.SERVICE_UNAVAILABLE}
    assert not any(b"too many files" in diagnostic for _, diagnostic in answers)


DESCRIPTORS = 190
"""Few enough to run out of, and as many as it takes to have some for bodies."""


def begin_upload(opened: ExitStack, uri: str, number: int) -> tuple[Code, bytes]:
    """Send the first block of a body that never goes on, from an address of its own, and return code and payload of the answer."""
    sock = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", int(uri.rpartition(":")[2])))
    request = Request(Code.PUT, bytes(1024), uri_path=[f"{number}.bin"], block1=Block.of(0, True, 1024))
    sock.send(encode_message(CON, request.code, number, b"t", request.options, request.payload))
    while True:
        message = decode_message_untrusted(sock.recv(2000))
        if not message.is_empty:
            return message.code, message.payload
