"""The command as a process: where it starts, how it ends, and what it does at a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

import pytest

COAP = (sys.executable, "-m", "trio_coap")


def run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run((*COAP, *words), input=stdin, capture_output=True, timeout=60, check=False)


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
            assert process.wait(60) == 0
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


def interrupt_when(process: subprocess.Popen[bytes], sign: bytes) -> tuple[int, bytes]:
    """Press Ctrl-C when *sign* is on standard error; return status and what else came."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert sign in line
    process.send_signal(signal.SIGINT)
    return process.wait(60), process.stderr.read()


def test_ctrl_c_ends_a_request_at_once(peer) -> None:
    words = ("get", peer.uri("/never"), "-v")
    with subprocess.Popen((*COAP, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        status, rest = interrupt_when(process, b"CON GET /never")
    assert status == 130
    assert b"Traceback" not in rest


def test_ctrl_c_ends_pings_with_the_result(peer) -> None:
    words = ("ping", peer.authority, "--interval", "60", "-v")
    with subprocess.Popen((*COAP, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"1: answer from ")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stdout.read().startswith(b"1 ping, 1 answered, 0 % lost")


def test_a_reader_that_goes_away_is_no_traceback(peer) -> None:
    words = ("decode", *(200 * ["44011a2bdeadbeefb474696d65"]))
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen((*COAP, *words), stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) == 1
