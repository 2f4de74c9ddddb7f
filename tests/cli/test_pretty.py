"""Payloads for a terminal."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_coap.cli.pretty import hex_dump, payload_text, show_payload


def shown(payload: bytes, content_format: int | None) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    show_payload(payload, content_format, stream)
    stream.seek(0)
    return stream.read()


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich is not installed."""
    monkeypatch.setitem(sys.modules, "rich.console", None)


@pytest.mark.parametrize(
    ("payload", "content_format", "text"),
    [
        (b'{"b":1,"a":[]}', 50, '{\n  "b": 1,\n  "a": []\n}'),
        (b'[{"n":"x"}]', 110, '[\n  {\n    "n": "x"\n  }\n]'),
        (b"{broken", 50, "{broken"),
        (b"[1e999]", 50, "[1e999]"),
        (b"[NaN]", 50, "[NaN]"),
        (b"\xa1\x61a\x01", 60, '{"a": 1}'),
        (b"\xff", 60, "000000  ff                                               ."),
        (b"\x01\x02", 63, "1\n2"),
        (b"21 \xc2\xb0C\n", 0, "21 °C\n"),
        (b"\xff", 0, "000000  ff                                               ."),
        (b"hello", None, "hello"),
        (b"a\0b", None, "000000  61 00 62                                         a.b"),
        (b"text", 42, "000000  74 65 78 74                                      text"),
        (b"text", 65535, "text"),
        (b"<a/>", 41, "<a/>"),
    ],
)
def test_a_payload_is_shown_as_what_it_is(payload: bytes, content_format: int | None, text: str) -> None:
    assert payload_text(payload, content_format)[0] == text


@pytest.mark.parametrize(("payload", "text"), [(b"on\n", "on\n"), (b"on", "on\n"), (b"on\n\n", "on\n\n"), (b"", "\n")])
def test_a_line_that_ends_is_not_ended_twice(payload: bytes, text: str) -> None:
    assert shown(payload, 0) == text


def test_a_dump_has_offsets_and_characters() -> None:
    assert hex_dump(bytes(range(0x41, 0x52))).splitlines() == [
        "000000  41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f 50  ABCDEFGHIJKLMNOP",
        "000010  51                                               Q",
    ]


@pytest.mark.usefixtures("plain")
def test_links_are_a_table_without_rich_too() -> None:
    text = '</a>;rt="x y";ct=0;sz=5 , <coap://h/b>;title="a, \\"b\\" <c>";obs;x=1'
    assert shown(text.encode(), 40).splitlines() == [
        "path        rt   ct  sz  obs  title       x",
        "/a          x y  0   5",
        'coap://h/b               yes  a, "b" <c>  1',
    ]


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("text", ["", "nonsense", "</a", "</a>;=1"])
def test_what_is_no_list_of_links_is_shown_as_text(text: str) -> None:
    assert shown(text.encode(), 40) == text + "\n"


def test_rich_shows_the_same_words() -> None:
    pytest.importorskip("rich")
    assert shown(b'{"a":[1]}', 50) == '{\n  "a": [\n    1\n  ]\n}\n'
    assert shown(b"</a>;rt=x,</b>", 40).split() == ["path", "rt", "/a", "x", "/b"]
    assert shown(b"[bold]not markup[/bold]", 0) == "[bold]not markup[/bold]\n"


@pytest.mark.parametrize("content_format", [None, 0, 40, 50, 60, 42])
def test_a_peer_cannot_command_the_terminal(content_format: int | None) -> None:
    for payload in (b"\x1b[2J\x9b\r", b'</\x1b[2J>;rt="\x1b"', b'["\\u001b[2J\\u009b"]', b"\x65\x1b[2J\r"):
        text = shown(payload, content_format)
        assert not set(text) & {"\x1b", "\r", "\x9b"}


def test_a_lone_surrogate_is_escaped() -> None:
    assert shown(b'["\\ud800"]', 50) == '[\n  "\\ud800"\n]\n'


@given(st.binary(max_size=60), st.sampled_from([None, 0, 40, 41, 42, 50, 60, 63, 110, 112, 65000]))
def test_any_payload_can_be_shown(payload: bytes, content_format: int | None) -> None:
    assert shown(payload, content_format).endswith("\n")


def test_a_long_list_of_links_takes_no_time() -> None:
    # A search that goes back would take minutes.
    assert shown(b"</a>;x=" + 60_000 * b" ", 40)
    assert shown(b"</a>" + 20_000 * b";a " + b"!", 40)


@pytest.mark.usefixtures("plain")
def test_links_with_too_many_attributes_for_a_table_are_text() -> None:
    text = ",".join(f"</>;a{number}" for number in range(3000))
    assert shown(text.encode(), 40) == text + "\n"
