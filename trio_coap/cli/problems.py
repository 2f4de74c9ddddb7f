"""What can go wrong, in one sentence that says what to do, and the exit status.

Rule: the sentence goes to standard error and the status to the shell; no traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_coap.wire.codes import Code

SUCCESS = 0
FAILURE = 1
"""Network failure or timeout; a malformed datagram for ``coap decode``."""
USAGE = 2
CLIENT_ERROR = 4
SERVER_ERROR = 5
INTERRUPTED = 130
"""What shells report for a program that Ctrl-C ended: 128 + SIGINT."""


class UsageError(Exception):
    """The command was not called as it can be; the text says what to write instead."""


class CommandFailure(Exception):
    """The command did what it could, and that was not enough; the text says why."""


def missing_extra(what: str, extra: str) -> UsageError:
    """Return the error that says which extra *what* needs."""
    return UsageError(f"{what} needs the extra {extra!r}: run pip install 'trio-coap[{extra}]'")


def exit_status(code: Code) -> int:
    """Return the exit status for a response with *code*."""
    return {4: CLIENT_ERROR, 5: SERVER_ERROR}.get(code.class_, SUCCESS)
