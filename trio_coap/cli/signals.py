"""Ending well on Ctrl-C: what the signals do to verbs that run until somebody ends them.

Rule 1: the first signal cancels, so that what is open is closed in order; the second does not wait for that.  Rule 2: a
signal that the process was started to ignore stays ignored.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import final

import attrs
import trio

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@final
@attrs.define(eq=False)
class Ending:
    """Whether a signal has asked for the end."""

    was_asked: bool = False
    """True once one has."""


async def watch_signals(
    ending: Ending,
    scope: trio.CancelScope,
    hurry: Callable[[], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Cancel *scope* when a signal asks for the end, and call *hurry* at the next one.

    Args:
      ending: learns that it was asked for.
      scope: what is cancelled.
      hurry: makes an end of what is left.
      task_status: started when signals are heard.
    """
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    if not heard:
        task_status.started()
        return
    with trio.open_signal_receiver(*heard) as signals:
        task_status.started()
        await anext(signals)
        ending.was_asked = True
        scope.cancel()
        await anext(signals)
        hurry()
