"""The file of ``-O``: whether it can be written is found out before anything is sent.

Rule 1: it changes only if there is a payload for it, and only when that is whole; until then it is as it was, or not
there.  Rule 2: a long payload is never held in memory: it goes to another file in the same directory, which then takes
the place of the one that is meant.  What is no regular file, has other names or belongs to somebody else is
written itself, as far as the payload comes.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import ParamSpec, TypeVar, final

from trio_coap.cli.problems import CommandFailure, UsageError

P = ParamSpec("P")
T = TypeVar("T")


@final
class OutputFile:
    """A file that is open for payloads; made by :func:`open_output_file`.

    Attributes:
      is_written: True once a payload, even an empty one, has gone into it.
    """

    def __init__(self, path: str, descriptor: int, is_new: bool) -> None:
        """Write to *descriptor*, or put another file at *path*; the file that is there is ours if *is_new*."""
        self.path = path
        self.is_written = False
        self._descriptor = descriptor
        self._is_new = is_new
        self._target = os.path.realpath(path)
        self._temporary: str | None = None
        self._part: int | None = None

    def write(self, payload: bytes) -> None:
        """Make *payload* what the file contains.

        Raises:
          CommandFailure: if the system does not take it.
        """
        self.begin()
        self.write_some(payload)
        self.finish()

    def begin(self) -> None:
        """Begin with a payload, from its start.

        Raises:
          CommandFailure: if the system does not let us.
        """
        self._call(self._begin)

    def write_some(self, octets: bytes) -> None:
        """Take the next octets of the payload.

        Raises:
          CommandFailure: if the system does not take them.
        """
        assert self._part is not None
        self._call(_write_all, self._part, octets)

    def finish(self) -> None:
        """Make what came since :meth:`begin` the content of the file.

        Raises:
          CommandFailure: if the system does not let us.
        """
        self._call(self._finish)
        self.is_written = True

    def close(self) -> None:
        """Release everything; a file that was made and got no payload is removed."""
        self._drop_temporary()
        os.close(self._descriptor)
        if self._is_new and not self.is_written:
            with suppress(OSError):
                os.unlink(self.path)

    def _begin(self) -> None:
        self._drop_temporary()
        if self._may_be_replaced():
            with suppress(OSError):  # Not every directory takes another file; then the file is written itself.
                name = os.path.basename(self._target)
                self._part, self._temporary = tempfile.mkstemp(
                    prefix=f".{name[:100]}.", suffix=".part", dir=os.path.dirname(self._target)
                )
        if self._temporary is None:
            self._part = self._descriptor
            # A terminal, a pipe or a device has nothing to cut off.
            if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                os.ftruncate(self._descriptor, 0)
            self.is_written = True

    def _may_be_replaced(self) -> bool:
        status = os.fstat(self._descriptor)
        return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid()

    def _finish(self) -> None:
        if self._temporary is None:
            return
        assert self._part is not None
        os.fchmod(self._part, stat.S_IMODE(os.fstat(self._descriptor).st_mode))
        os.replace(self._temporary, self._target)
        # What is at the path now is what the next payload goes into.
        os.close(self._descriptor)
        self._descriptor, self._part, self._temporary = self._part, None, None

    def _drop_temporary(self) -> None:
        if self._temporary is None:
            return
        assert self._part is not None
        os.close(self._part)
        with suppress(OSError):
            os.unlink(self._temporary)
        self._part = self._temporary = None

    def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except OSError as exc:
            raise CommandFailure(_sentence(self.path, exc)) from exc


@contextmanager
def open_output_file(path: str | None) -> Iterator[OutputFile | None]:
    """Open the file at *path* for a payload; without a path there is none.

    A file that was made for this and got no payload is removed at the end.

    Raises:
      UsageError: if it cannot be written.
    """
    if path is None:
        yield None
        return
    try:
        output = OutputFile(path, *_open(path))
    except OSError as exc:
        raise UsageError(_sentence(path, exc)) from exc
    try:
        yield output
    finally:
        output.close()


def _open(path: str) -> tuple[int, bool]:
    """Return a descriptor for writing, and whether the file is new."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        # Also a link to nowhere: then this makes what it points to.
        return os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), False


def _write_all(descriptor: int, octets: bytes) -> None:
    view = memoryview(octets)
    while view:
        view = view[os.write(descriptor, view) :]


def _sentence(path: str, exc: OSError) -> str:
    return f"the file {path!r} of -O cannot be written: {exc.strerror}"
