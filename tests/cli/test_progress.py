"""The progress bar: when it comes, what it shows, and that it goes."""

from __future__ import annotations

import io
import sys

import pytest
import trio
from trio.testing import MockClock

from trio_coap import Progress
from trio_coap.cli.progress import PATIENCE, progress_line, shown_progress


class Terminal(io.StringIO):
    """Text that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


async def run(progress: Progress, stream: io.StringIO, seconds: float) -> None:
    """Transfer 1000 octets in a second, never at the moment of a look."""
    async with shown_progress(progress, stream):
        await trio.sleep(0.05)
        for _ in range(round(seconds * 10)):
            await trio.sleep(0.1)
            progress.sent += 100


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra ``pretty`` is not installed."""
    monkeypatch.setitem(sys.modules, "rich.console", None)


@pytest.mark.usefixtures("plain")
async def test_without_rich_it_is_a_line_that_goes_at_the_end(autojump_clock: MockClock) -> None:
    stream = Terminal()
    await run(Progress(to_send=1000), stream, 1)
    *_, last, gone, end = stream.getvalue().split("\r")
    assert last == "sent [###########################---]  90 % of 1000 octets"
    assert (gone.strip(), end) == ("", "")


async def test_with_rich_it_is_a_bar(autojump_clock: MockClock) -> None:
    pytest.importorskip("rich")
    stream = Terminal()
    await run(Progress(to_send=1000), stream, 1)
    assert "sent" in stream.getvalue()
    assert "0.9/1.0 kB" in stream.getvalue()


async def test_what_takes_no_time_has_no_bar(autojump_clock: MockClock) -> None:
    stream = Terminal()
    await run(Progress(to_send=1000), stream, PATIENCE - 0.1)
    assert stream.getvalue() == ""


async def test_waiting_for_one_message_has_no_bar(autojump_clock: MockClock) -> None:
    stream = Terminal()
    async with shown_progress(Progress(sent=10, to_send=10), stream):
        await trio.sleep(60)
    assert stream.getvalue() == ""


async def test_without_a_terminal_there_is_nothing(autojump_clock: MockClock) -> None:
    stream = io.StringIO()
    await run(Progress(to_send=1000), stream, 5)
    assert stream.getvalue() == ""


@pytest.mark.usefixtures("plain")
async def test_the_body_goes_on_when_the_terminal_goes(autojump_clock: MockClock) -> None:
    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise OSError

    progress = Progress(to_send=1000)
    await run(progress, Gone(), 1)
    assert progress.sent == 1000


@pytest.mark.usefixtures("plain")
async def test_an_error_of_the_body_comes_out_as_itself(autojump_clock: MockClock) -> None:
    with pytest.raises(LookupError):
        async with shown_progress(Progress(), Terminal()):
            raise LookupError


def test_a_line_without_a_total_counts() -> None:
    assert progress_line("received", 2048, None) == "received 2048 octets"
    assert progress_line("received", 2048, 2048).endswith("] 100 % of 2048 octets")
    assert "100 %" in progress_line("received", 4096, 2048)
