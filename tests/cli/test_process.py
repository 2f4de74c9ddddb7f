"""The command as a process: where it starts, how it ends, and what it does at a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

COAP = (sys.executable, "-m", "trio_coap")

PATIENCE = 60
"""Seconds after which a process hangs."""


def run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run((*COAP, *words), input=stdin, capture_output=True, timeout=PATIENCE, check=False)


def test_the_module_is_the_command(peer) -> None:
    done = run("get", peer.uri("/octets"))
    assert (done.returncode, done.stdout, done.stderr) == (0, bytes(range(256)), b"")


def test_an_error_is_a_sentence_and_no_traceback() -> None:
    done = run("get", "fe80::1%eth0/x")
    assert done.returncode == 2
    assert done.stderr.startswith(b"coap: the IPv6 address in ")
    assert done.stderr.count(b"\n") == 1


def test_a_terminal_gets_colours_and_indentation(peer) -> None:
    pytest.importorskip("rich")
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    try:
        with subprocess.Popen((*COAP, "get", peer.uri("/json")), stdout=follower, env=environment) as process:
            os.close(follower)
            shown = read_all(leader)
            assert process.wait(PATIENCE) == 0
    finally:
        os.close(leader)
    assert b"\x1b[" in shown
    assert shown.count(b"\r\n") == 7


def read_all(leader: int) -> bytes:
    """Read until the other side has closed the terminal, which Linux reports as an error."""
    shown = b""
    while True:
        try:
            octets = os.read(leader, 4096)
        except OSError:
            return shown
        if not octets:
            return shown
        shown += octets


LAUNCHER = """
import os, resource, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
if (descriptors := int(sys.argv[1])):
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""A child of a process that ignores SIGINT ignores it too, and nothing in subprocess changes that."""


@contextmanager
def started(*words: str, descriptors: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command so that Ctrl-C reaches it, with so many *descriptors* if given, and end it in any case."""
    launcher = (sys.executable, "-c", LAUNCHER, str(descriptors))
    with subprocess.Popen(
        (*launcher, *COAP, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["taken", "ignored"])
def sigint(request: pytest.FixtureRequest) -> Iterator[None]:
    """What this process does about SIGINT; background jobs of a shell ignore it."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint")
def test_ctrl_c_ends_a_request_at_once(peer) -> None:
    with started("get", peer.uri("/never"), "-v") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"CON GET /never" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.usefixtures("sigint")
def test_ctrl_c_ends_pings_with_the_result(peer) -> None:
    with started("ping", peer.authority, "--interval", "60", "-v") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"1: answer from ")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stdout.read().startswith(b"1 ping, 1 answered, 0 % lost")


def test_a_reader_that_goes_away_is_no_traceback(peer) -> None:
    words = ("decode", *(200 * ["44011a2bdeadbeefb474696d65"]))
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen((*COAP, *words), stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 1


@pytest.mark.parametrize(("path", "status"), [("/octets", 0), ("/code/132", 4)])
def test_a_reader_of_standard_error_that_goes_away_does_not_change_the_result(peer, path: str, status: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        (*COAP, "get", peer.uri(path), "-v", "-i"), stdout=subprocess.PIPE, stderr=writing
    ) as process:
        os.close(writing)
        assert process.stdout is not None
        assert process.stdout.read() == (b"" if status else bytes(range(256)))
        assert process.wait(PATIENCE) == status


@pytest.mark.parametrize(
    ("closed", "words", "status"),
    [
        (">&-", ("get", "/octets"), 0),
        (">&-", ("get", "/octets", "--jsonl"), 0),
        (">&-", ("put", "/echo", "-d", "@-", "-v"), 0),
        ("2>&-", ("get", "/octets", "-v", "-i"), 0),
        ("2>&-", ("get", "/code/132"), 4),
        ("2>&-", ("get", "/octets", "--timeout", "nan"), 2),
        ("<&-", ("put", "/echo", "-d", "@-"), 0),
        ("<&- >&- 2>&-", ("put", "/echo", "-d", "@-", "-v"), 0),
        (">&- 2>&-", ("get", "/octets", "-v"), 0),
    ],
)
def test_a_closed_stream_is_one_that_goes_nowhere(peer, closed: str, words: tuple[str, ...], status: int) -> None:
    verb, path, *rest = words
    shell = ("sh", "-c", f'exec "$@" {closed}', "sh")
    done = subprocess.run(
        (*shell, *COAP, verb, peer.uri(path), *rest), input=b"", capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == status
    assert b"Traceback" not in done.stderr
    assert b"coap:" not in done.stderr
    expected = bytes(range(256)) if path == "/octets" and status == 0 and ">&-" not in closed.split() else b""
    assert done.stdout == expected


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
@pytest.mark.parametrize(("word", "status"), [("decode", 2), ("--help", 0), ("zzz", 2)])
def test_decode_and_help_without_a_stream(closed: str, word: str, status: int) -> None:
    words = ("sh", "-c", f'exec "$@" {closed}', "sh", *COAP, word)
    done = subprocess.run(words, input=b"", capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize("words", [("get", "/octets"), ("get", "/octets", "--jsonl"), ("decode", "40000001")])
def test_a_full_disk_is_one_sentence(peer, words: tuple[str, ...]) -> None:
    words = tuple(peer.uri(word) if word.startswith("/") else word for word in words)
    with open("/dev/full", "wb") as full:
        done = subprocess.run((*COAP, *words), stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (1, b"coap: the system says: No space left on device\n")
