"""The order in which Trio runs tasks, made repeatable."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def seeded_scheduling(seed: int | str = 0) -> Iterator[None]:
    """Let Trio choose by *seed* alone in which order tasks run that are ready at the same time.

    A network's seed decides what happens to each datagram; which of several tasks is the first to send from one
    endpoint, and so gets the first message ID, Trio decides.  Within this context manager, around :func:`trio.run` or
    inside it, that too is the same in every run, with a :class:`~trio.testing.MockClock`.  Other seeds find other
    orders: a test that passes with many of them does not depend on one.

    Raises:
      RuntimeError: if this version of Trio has no means for that; they are not part of its public interface, but what
        pytest-trio uses under Hypothesis.
    """
    run: Any = importlib.import_module("trio._core._run")
    if not hasattr(run, "_ALLOW_DETERMINISTIC_SCHEDULING") or not hasattr(run, "_r"):
        raise RuntimeError("this version of Trio does not let its scheduling be seeded")
    before = run._ALLOW_DETERMINISTIC_SCHEDULING, run._r.getstate()
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    run._r.seed(f"{seed}")
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING, state = before
        run._r.setstate(state)
