"""``coap observe`` against a site on loopback: what it shows, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import LONG_BODY
from tests.cli.test_process import COAP, PATIENCE, started


def test_each_state_is_a_line(coap, peer) -> None:
    outcome = coap("observe", peer.uri("/count"), "--count", "3")
    assert outcome.status == 0
    # The newest state wins: where the machine is slow, one may be left out, and then that is said, and nothing else.
    assert re.fullmatch(r"(coap: \d+ states were left out, as newer ones had come\n)?", outcome.stderr)
    first, second, third = (int(line.removeprefix("state ")) for line in outcome.text.splitlines())
    assert first < second < third


def test_leaving_deregisters(coap, peer) -> None:
    assert coap("observe", peer.uri("/count"), "--count", "1").status == 0
    assert (peer.requests[0].options.observe, peer.last.options.observe) == (0, 1)
    assert peer.last.token == peer.requests[0].token


def test_for_ends_it_with_success(coap, peer) -> None:
    outcome = coap("observe", peer.uri("/still"), "--for", "0.2")
    assert (outcome.status, outcome.text) == (0, "nothing happens\n")
    assert peer.last.options.observe == 1


def test_jsonl_has_a_record_for_each_state(coap, peer) -> None:
    outcome = coap("observe", peer.uri("/count"), "--count", "2", "--jsonl")
    records = [json.loads(line) for line in outcome.text.splitlines()]
    assert [sorted(record)[:3] for record in records] == [["code", "elapsed", "message_id"]] * 2
    assert records[0]["observe"] < records[1]["observe"]
    assert records[0]["elapsed"] < records[1]["elapsed"]
    assert records[1]["payload"].startswith("state ")


def test_a_terminal_gets_the_time_too(coap, peer) -> None:
    outcome = coap("observe", peer.uri("/still"), "--count", "1", is_terminal=True)
    assert re.fullmatch(r"\d\d:\d\d:\d\d  nothing happens\n", outcome.text)


def test_a_line_with_its_end_stands_behind_the_time_too(coap, peer) -> None:
    outcome = coap("observe", peer.uri("/ending"), "--count", "1", is_terminal=True)
    assert re.fullmatch(r"\d\d:\d\d:\d\d  the only state\n", outcome.text)


def test_an_error_that_ends_it_is_the_status(coap, peer) -> None:
    outcome = coap("observe", peer.uri("/ending"))
    assert outcome.status == 4
    assert outcome.text in ("the only state\n", ""), "the newest state wins, and the error may come first"
    assert outcome.stderr.startswith("coap: 4.04 Not Found: it was deleted\n")


def test_what_cannot_be_observed_is_shown_and_said(coap, peer) -> None:
    outcome = coap("observe", peer.uri("/json"))
    assert (outcome.status, outcome.text) == (0, '{"a":[1,2],"b":"\\u00e9"}\n')
    assert outcome.stderr.startswith("coap: the server does not let this be observed, now at least")


def test_an_error_at_once_is_shown_as_get_does(coap, peer) -> None:
    outcome = coap("observe", peer.uri("/nowhere"))
    assert (outcome.status, outcome.stderr) == (4, "coap: 4.04 Not Found: there is nothing at /nowhere\n")


@pytest.mark.parametrize("words", [[], ["--block-size", "64"]])
def test_a_long_state_is_shown_whole(coap, peer, words: list[str]) -> None:
    outcome = coap("observe", peer.uri("/long"), "--count", "1", *words)
    assert outcome.stdout == LONG_BODY + b"\n"


def test_the_file_has_the_last_state(coap, peer, tmp_path: Path) -> None:
    path = tmp_path / "out"
    assert coap("observe", peer.uri("/count"), "--count", "3", "-O", str(path)).stdout == b""
    assert path.read_text() == f"state {peer.ticks - 1}"  # The deregistration was answered with one more.


@pytest.mark.parametrize(
    ("words", "hint"),
    [(["--timeout", "0.05"], "--timeout"), (["--for", "0.05"], "--for"), (["--non", "--timeout", "0.05"], "--timeout")],
)
def test_no_response_at_all_is_a_failure(coap, silent, words: list[str], hint: str) -> None:
    host, port = silent.getsockname()
    outcome = coap("observe", f"{host}:{port}/x", *words)
    assert outcome.status == 1
    assert f"within 0.05 s: allow more with {hint}, " in outcome.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_deregisters_and_ends_it_well(peer, number: signal.Signals) -> None:
    with started("observe", peer.uri("/still"), "-v") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"nothing happens\n"
        process.send_signal(number)
        assert process.wait(1.5) == 0
        log = process.stderr.read().decode()
    deregistration = [line for line in log.splitlines() if "-> " in line and "Observe: 1" in line]
    assert len(deregistration) == 1
    assert peer.last.options.observe == 1
    assert "Traceback" not in log


def test_a_signal_does_not_wait_for_a_server_that_is_gone(silent) -> None:
    host, port = silent.getsockname()
    with started("observe", f"{host}:{port}/x") as process:
        assert process.stderr is not None
        silent.recv(2000)
        process.send_signal(signal.SIGINT)
        assert process.wait(1.5) == 130
        assert process.stderr.read() == b""


def test_a_reader_that_goes_ends_it_before_the_next_state(peer) -> None:
    with subprocess.Popen(
        (*COAP, "observe", peer.uri("/still")), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"nothing happens\n"
        process.stdout.close()
        assert process.wait(PATIENCE) == 1
        assert process.stderr.read() == b""
    assert peer.last.options.observe == 1
