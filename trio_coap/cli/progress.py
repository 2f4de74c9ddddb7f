"""A progress bar for long transfers, on standard error.

Rule 1: it is for people at a terminal; without one there is nothing.  Rule 2: it comes when a transfer takes a while, goes
when it is done, and nothing else is written meanwhile.  Rule 3: it looks at a :class:`trio_coap.Progress` from a task of
its own; the transfer does not know of it.  With the extra ``pretty`` it is a bar, without it a line with per cent.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, TextIO, final

import trio

from trio_coap.client import Progress
from trio_coap.transports.driver import raise_single

PATIENCE = 0.5
"""A transfer that takes no longer than this, in seconds, needs no bar."""

INTERVAL = 0.1
"""Seconds from one look to the next: more often, nobody can follow."""

WIDTH = 30
"""Characters of a bar in :func:`progress_line`."""

_UP, _DOWN = "sent", "received"


class Bar(Protocol):
    """Shows how far a transfer has got."""

    def show(self, way: str, done: int, total: int | None) -> None:
        """Show that *done* octets of *total* have gone one way, *total* being None as long as nobody knows."""

    def close(self) -> None:
        """Take it away."""


@asynccontextmanager
async def shown_progress(
    progress: Progress, stream: TextIO | None = None, patience: float = PATIENCE
) -> AsyncIterator[None]:
    """Show *progress* while the body runs.

    Args:
      progress: what is shown.
      stream: where, by default on standard error; only if it is a terminal.
      patience: how long the body may take without a bar, in seconds.
    """
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield
        return
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, progress, stream, patience)
            yield
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise_single(group)


async def _watch(progress: Progress, stream: TextIO, patience: float) -> None:
    await trio.sleep(patience)
    bar: Bar | None = None
    try:
        while True:
            ways = _ways(progress)
            if ways and bar is None:
                bar = make_bar(stream)
            for way, done, total in ways:
                assert bar is not None
                bar.show(way, done, total)
            await trio.sleep(INTERVAL)
    except OSError:
        bar = None  # Nobody looks any more, and the transfer goes on.
    finally:
        if bar is not None:
            bar.close()


def _ways(progress: Progress) -> list[tuple[str, int, int | None]]:
    """Return what has gone which way, of bodies in more than one block: way, octets done, octets in all."""
    ways: list[tuple[str, int, int | None]] = []
    if (progress.sent and progress.sent != progress.to_send) or progress.sent > _ONE_BLOCK:
        ways.append((_UP, progress.sent, progress.to_send))
    if (progress.received and progress.received != progress.to_receive) or progress.received > _ONE_BLOCK:
        ways.append((_DOWN, progress.received, progress.to_receive))
    return ways


_ONE_BLOCK = 1024


def make_bar(stream: TextIO) -> Bar:
    """Return a bar on *stream*, which is a terminal."""
    try:
        return _RichBar(stream)
    except ImportError:
        return _PlainBar(stream)


@final
class _RichBar:
    """The bar of rich, which is drawn when we say so: no thread of its own."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._bars.start()
        self._tasks = {way: self._bars.add_task(way, visible=False, total=None) for way in (_UP, _DOWN)}

    def show(self, way: str, done: int, total: int | None) -> None:
        """See :class:`Bar`."""
        self._bars.update(self._tasks[way], completed=done, total=total, visible=True, refresh=True)

    def close(self) -> None:
        """See :class:`Bar`."""
        self._bars.stop()


@final
class _PlainBar:
    """A line that is written over and over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._length = 0

    def show(self, way: str, done: int, total: int | None) -> None:
        """See :class:`Bar`."""
        line = progress_line(way, done, total)
        self._stream.write("\r" + line.ljust(self._length))
        self._stream.flush()
        self._length = len(line)

    def close(self) -> None:
        """See :class:`Bar`."""
        self._stream.write("\r" + " " * self._length + "\r")
        self._stream.flush()


def progress_line(way: str, done: int, total: int | None) -> str:
    """Return in one line how far a transfer has got.

    >>> progress_line("sent", 512, 2048)
    'sent [#######-----------------------]  25 % of 2048 octets'
    """
    if not total:
        return f"{way} {done} octets"
    share = min(done / total, 1.0)
    filled = int(share * WIDTH)
    return f"{way} [{'#' * filled}{'-' * (WIDTH - filled)}] {share:4.0%} of {total} octets".replace("%", " %")
