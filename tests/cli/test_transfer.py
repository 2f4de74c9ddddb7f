"""Long bodies at the command line: in blocks, from files and into files."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import LONG_BODY
from tests.cli.test_process import COAP, PATIENCE, read_all


@pytest.mark.parametrize("words", [[], ["--block-size", "64"], ["--block-size", "1024"]])
def test_a_long_body_comes_whole(coap, peer, words: list[str]) -> None:
    outcome = coap("get", peer.uri("/long"), *words)
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, LONG_BODY, "")


def test_the_block_size_is_what_goes_over_the_wire(coap, peer) -> None:
    outcome = coap("get", peer.uri("/long"), "--block-size", "256", "-v")
    requests = [line for line in outcome.stderr.splitlines() if "GET /long" in line]
    assert len(requests) == len(LONG_BODY) // 256
    assert all("of 256 octets" in line for line in requests)


@pytest.mark.parametrize("size", ["0", "15", "48", "2048", "x"])
def test_what_is_no_block_size_is_a_sentence(coap, peer, size: str) -> None:
    outcome = coap("get", peer.uri("/long"), "--block-size", size)
    assert outcome.status == 2
    assert "write one of 16, 32, 64, 128, 256, 512, 1024" in outcome.stderr


@pytest.mark.parametrize("words", [[], ["--block-size", "32"], ["-O"]])
def test_a_long_file_goes_up_in_blocks(coap, peer, tmp_path: Path, words: list[str]) -> None:
    path, out = tmp_path / "payload", tmp_path / "out"
    path.write_bytes(LONG_BODY)
    words = [*words, str(out)] if "-O" in words else words
    outcome = coap("put", peer.uri("/long"), "-d", f"@{path}", "-f", "42", *words)
    assert outcome.status == 0
    assert (out.read_bytes() if "-O" in words else outcome.stdout) == LONG_BODY[::-1]
    assert peer.last.payload == LONG_BODY
    assert peer.last.options.content_format == 42


def test_a_single_block_can_be_asked_for(coap, peer) -> None:
    assert coap("get", peer.uri("/long"), "-o", "Block2=0x12").stdout == LONG_BODY[64:128]


def test_a_long_file_can_be_one_block(coap, peer, tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(LONG_BODY[:1100])
    assert coap("put", peer.uri("/echo"), "-d", f"@{path}", "-o", "Block2=6").status == 0
    assert peer.last.payload == LONG_BODY[:1100]


def test_a_long_body_goes_into_a_file(coap, peer, tmp_path: Path) -> None:
    path = tmp_path / "out"
    outcome = coap("get", peer.uri("/long"), "-O", str(path), "--jsonl")
    assert path.read_bytes() == LONG_BODY
    assert "payload" not in outcome.text
    assert os.listdir(tmp_path) == ["out"]


def test_half_a_body_leaves_the_file_as_it_was(coap, peer, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"as before")
    outcome = coap("get", peer.uri("/failing"), "-O", str(path))
    assert (outcome.status, outcome.stderr) == (5, "coap: 5.00 Internal Server Error\n")
    assert path.read_bytes() == b"as before"
    assert os.listdir(tmp_path) == ["out"]


def test_a_file_keeps_its_mode_and_a_link_its_target(coap, peer, tmp_path: Path) -> None:
    path, link = tmp_path / "out", tmp_path / "link"
    path.touch(0o640)
    link.symlink_to(path)
    assert coap("get", peer.uri("/long"), "-O", str(link)).status == 0
    assert link.is_symlink()
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (LONG_BODY, 0o640)


def test_a_file_with_two_names_keeps_both(coap, peer, tmp_path: Path) -> None:
    path, other = tmp_path / "out", tmp_path / "other"
    path.write_bytes(2 * LONG_BODY)
    other.hardlink_to(path)
    assert coap("get", peer.uri("/long"), "-O", str(path)).status == 0
    assert other.read_bytes() == LONG_BODY


def test_a_device_takes_the_body_too(coap, peer) -> None:
    assert coap("get", peer.uri("/long"), "-O", "/dev/null").status == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_bar_on_the_terminal_leaves_standard_output_alone(peer, tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(LONG_BODY)
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    words = ("put", peer.uri("/slow"), "-d", f"@{path}", "--block-size", "64")
    out = tmp_path / "out"
    with (
        open(out, "wb") as stdout,
        subprocess.Popen((*COAP, *words), stdout=stdout, stderr=follower, env=environment) as process,
    ):
        os.close(follower)
        shown = read_all(leader)
        os.close(leader)
        assert process.wait(PATIENCE) == 0
    assert out.read_bytes() == LONG_BODY[::-1]
    assert b"sent" in shown
