"""``coap discover`` against a site on loopback."""

from __future__ import annotations

import json
import sys

import pytest


def test_each_link_is_a_line_with_its_uri(coap, peer) -> None:
    outcome = coap("discover", peer.authority)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.text.splitlines() == [
        f'<{peer.uri("/temp")}>;rt="temperature";ct="0 50"',
        f"<{peer.uri('/lamp')}>;obs",
    ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--rt", "temp*"], ["/temp"]),
        (["--ct", "json"], ["/temp"]),
        (["--href", "/l*"], ["/lamp"]),
        (["--href", "/temp", "--rt", "temperature"], ["/temp"]),
    ],
)
def test_filters_choose(coap, peer, words: list[str], found: list[str]) -> None:
    lines = coap("discover", peer.uri("/anything"), *words).text.splitlines()
    assert [line.partition(">")[0].removeprefix("<") for line in lines] == [peer.uri(path) for path in found]


def test_nothing_of_that_kind_is_said(coap, peer) -> None:
    outcome = coap("discover", peer.authority, "--if", "none")
    assert (outcome.status, outcome.stdout) == (0, b"")
    assert outcome.stderr == f"coap: coap://{peer.authority} offers nothing of that kind\n"


def test_jsonl_has_a_record_for_each_resource(coap, peer) -> None:
    records = [json.loads(line) for line in coap("discover", peer.authority, "--jsonl").text.splitlines()]
    assert records == [
        {"uri": peer.uri("/temp"), "attributes": {"rt": ["temperature"], "ct": ["0 50"]}},
        {"uri": peer.uri("/lamp"), "attributes": {"obs": [True]}},
    ]


def test_a_terminal_gets_a_table(coap, peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    head, *rows = coap("discover", peer.authority, is_terminal=True).text.splitlines()
    assert head.split() == ["URI", "rt", "ct", "obs"]
    assert [row.split() for row in rows] == [
        [peer.uri("/temp"), "temperature", "0", "50"],
        [peer.uri("/lamp"), "yes"],
    ]


@pytest.mark.parametrize(
    ("words", "whom"),
    [
        ([], "coap://224.0.1.187 and coap://[ff02::fd] and coap://[ff05::fd]"),
        (["224.0.1.187:9"], "coap://224.0.1.187:9/"),
    ],
)
def test_a_group_where_nobody_answers(coap, words: list[str], whom: str) -> None:
    """Not even who happens to be there: the command looks at what comes for no time at all."""
    outcome = coap("discover", *words, "--timeout", "0")
    assert (outcome.status, outcome.stdout) == (1, b"")
    assert f"nobody in {whom} answered within 0 s: allow more with --timeout" in outcome.stderr


def test_a_server_without_links_is_an_error_with_its_status(coap, silent, peer) -> None:
    host, port = silent.getsockname()
    outcome = coap("discover", f"{host}:{port}", "--timeout", "0.05")
    assert outcome.status == 1
    assert "within 0.05 s: allow more with --timeout" in outcome.stderr
