"""The files below a directory, and no others: what stands behind ``coap serve``.

Rule 1: there is no way out.  A path is walked from the directory's own descriptor, one segment at a time, and no symbolic
link is followed, wherever it leads; what is checked is what has been opened.  Rule 2: only regular files and directories
exist.  Names that begin with a dot are hidden, and so is what cannot be a segment of a path.  Rule 3: a file is
replaced whole or not at all: whoever reads it meanwhile has the old one to its end.  Rule 4: nothing here waits for
anybody but the disk; whoever has other things to do calls it in a thread.

=====================================================  ===============================================
what is found                                          what is raised
=====================================================  ===============================================
nothing; a link, a device; a hidden name               FileNotFoundError
something hidden, or a link, is to be written          PermissionError
a directory is to be written                           IsADirectoryError
a directory has more than ``MAX_ENTRIES``              OSError with E2BIG
anything else that the system has against it           the OSError that it is
=====================================================  ===============================================
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import BinaryIO, final

import attrs

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""A pipe is opened without waiting for who writes to it; that it is one is found out then."""
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_ETAG_LENGTH = 8

MAX_ENTRIES = 50_000
"""Entries of a directory up to which it is listed: each is looked at for every listing, and takes some 100 octets."""

SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What says nothing about a file: it is ourselves who cannot open more at the moment."""

Path = tuple[str, ...]
"""The segments of a path, without empty ones."""


class ConditionFailed(Exception):
    """A file is not in the state that it must be in to be written."""


Condition = Callable[[bytes | None], bool]
"""Says, of the ETag of the file that is there, or None without one, whether it may be written."""


@final
@attrs.frozen
class Entry:
    """What stands in a directory."""

    name: str
    is_directory: bool
    size: int
    """Octets; 0 for a directory."""


@final
@attrs.frozen
class Listing:
    """A directory that was read."""

    entries: tuple[Entry, ...]
    """Sorted by name."""

    @property
    def etag(self) -> bytes:
        """Differs when the listing does."""
        text = "".join([f"{entry.name}/{entry.is_directory}/{entry.size}\0" for entry in self.entries])
        return hashlib.sha256(text.encode()).digest()[:_ETAG_LENGTH]


def etag_of(status: os.stat_result) -> bytes:
    """Return an ETag for a file in that state."""
    text = f"{status.st_dev}/{status.st_ino}/{status.st_mtime_ns}/{status.st_size}"
    return hashlib.sha256(text.encode()).digest()[:_ETAG_LENGTH]


@final
class Tree:
    """A directory, with everything below it that is to be seen."""

    def __init__(self, directory: str) -> None:
        """Open *directory*; :meth:`close` it in the end.

        Raises:
          OSError: if it cannot be opened, or is none.
        """
        # Whoever starts the server may name a link; only what clients name is not followed.
        self._lock = threading.Lock()
        self._root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the directory."""
        os.close(self._root)

    def open(self, path: Path) -> BinaryIO | Listing:
        """Open the file at *path* for reading, or read the directory there.

        Raises:
          OSError: see the table.
        """
        if not path:
            return _list(self._open_root())
        with self._parent(path) as parent:
            descriptor = _open_regular(path[-1], parent)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return _list(descriptor)
        return os.fdopen(descriptor, "rb")

    def etag(self, path: Path) -> bytes | None:
        """Return the ETag of what stands at *path*, or None if there is nothing, or nothing that can be read.

        Raises:
          OSError: with one of ``SHORTAGES``, if that cannot be found out.
        """
        try:
            found = self.open(path)
        except OSError as exc:
            if exc.errno in SHORTAGES:
                raise
            return None
        if isinstance(found, Listing):
            return found.etag
        with found:
            return etag_of(os.fstat(found.fileno()))

    def begin(self, path: Path, condition: Condition) -> Replacement:
        """Begin with another content for the file at *path*; close what is returned in the end.

        Raises:
          ConditionFailed: if *condition* does not hold.
          OSError: see the table.
        """
        with self._parent(_checked(path)) as parent:
            _writable_status(path[-1], parent, condition)  # Before anything is written.
            return Replacement(os.dup(parent), path[-1], condition, self._lock)

    def remove(self, path: Path, condition: Condition) -> None:
        """Remove the file at *path*; that there is none is fine, if *condition* holds then.

        Raises:
          ConditionFailed: if *condition* does not hold.
          OSError: see the table.
        """
        try:
            with self._parent(_checked(path)) as parent, self._lock:
                if _writable_status(path[-1], parent, condition) is not None:
                    os.unlink(path[-1], dir_fd=parent)
        except (FileNotFoundError, NotADirectoryError):
            if not condition(None):
                raise ConditionFailed from None

    @contextmanager
    def _parent(self, path: Path) -> Iterator[int]:
        """Open the directory that *path* ends in, and close it again."""
        if not path:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        for name in path:
            _require_visible(name)
        descriptor = self._open_root()
        try:
            for name in path[:-1]:
                below = os.open(name, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_root(self) -> int:
        # Not a copy: copies share the position in the directory, and two may read it at a time.
        return os.open(".", _DIRECTORY, dir_fd=self._root)


@final
class Replacement:
    """What is to be the content of a file: written aside, and put in its place at once."""

    def __init__(self, parent: int, name: str, condition: Condition, lock: threading.Lock) -> None:
        """Make an empty file in the directory *parent*, which is ours to close; *lock* is for the moment of putting.

        Raises:
          OSError: if the system does not let us.
        """
        self._parent = parent
        self._name = name
        self._condition = condition
        self._lock = lock
        self._temporary: str | None = f".{secrets.token_hex(8)}.part"
        try:
            self._file = os.fdopen(os.open(self._temporary, _CREATE, 0o666, dir_fd=parent), "wb")
        except BaseException:
            os.close(parent)
            raise

    def write(self, octets: bytes) -> None:
        """Take the next octets.

        Raises:
          OSError: if the system does not.
        """
        self._file.write(octets)

    def commit(self) -> bool:
        """Put it in the place of the file, for good; return whether there was none.

        Raises:
          ConditionFailed: if the condition does not hold any more.
          OSError: see the table.
        """
        assert self._temporary is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        with self._lock:
            before = _writable_status(self._name, self._parent, self._condition)
            is_new = before is None and self._link()
            if not is_new:
                # Without a link there may be a file by now that somebody else has made.
                before = _writable_status(self._name, self._parent, self._condition)
                if before is not None:
                    # Not set-user-ID: what a client has written does not run as somebody else.
                    os.fchmod(self._file.fileno(), before.st_mode & 0o777)
                os.rename(self._temporary, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
                self._temporary = None
        with suppress(OSError):  # Not every file system can; the file is whole in any case.
            os.fsync(self._parent)
        return is_new or before is None

    def close(self) -> None:
        """Release everything; what has not been put in its place is gone."""
        with suppress(OSError):  # Of a full disk, say: it is not wanted any more.
            self._file.close()
        if self._temporary is not None:
            with suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._parent)
        os.close(self._parent)

    def _link(self) -> bool:
        """Give the file its name; unlike a rename, this fails if somebody else has made such a file meanwhile."""
        assert self._temporary is not None
        try:
            os.link(
                self._temporary, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent, follow_symlinks=False
            )
        except FileExistsError:
            return False
        except OSError as exc:
            if exc.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            return False  # A file system without links.
        return True


def _list(descriptor: int) -> Listing:
    """Read the directory, and close it."""
    try:
        with os.scandir(descriptor) as found:
            entries = [entry for entry in map(_entry, islice(found, MAX_ENTRIES)) if entry is not None]
            if next(found, None) is not None:
                raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    finally:
        os.close(descriptor)
    return Listing(tuple(sorted(entries, key=lambda entry: entry.name)))


def is_visible(name: str) -> bool:
    """Return whether *name* can be that of a file that is served."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False  # No segment of a path can say it.
    return True


def _require_visible(name: str) -> None:
    if not is_visible(name):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _checked(path: Path) -> Path:
    """Return *path*, unless it has a name that must not be written."""
    if not all(map(is_visible, path)):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return path


def _open_regular(name: str, parent: int) -> int:
    """Open a regular file or a directory; opening a device might already do something."""
    _require_served(os.stat(name, dir_fd=parent, follow_symlinks=False))
    descriptor = os.open(name, _READ, dir_fd=parent)
    try:
        # Somebody may have put another one there meanwhile.
        _require_served(os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_served(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _writable_status(name: str, parent: int, condition: Condition) -> os.stat_result | None:
    """Return the state of the file that is to be written, None without one.

    Raises:
      ConditionFailed: if *condition* does not hold.
      OSError: if it is no regular file.
    """
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        status = None
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if not condition(None if status is None else etag_of(status)):
        raise ConditionFailed
    return status


def _entry(found: os.DirEntry[str]) -> Entry | None:
    """Return what *found* is, or None if it is not served."""
    if not is_visible(found.name):
        return None
    try:
        status = found.stat(follow_symlinks=False)
    except OSError:
        return None  # It has gone meanwhile.
    if stat.S_ISDIR(status.st_mode):
        return Entry(found.name, True, 0)
    return Entry(found.name, False, status.st_size) if stat.S_ISREG(status.st_mode) else None


def segments(uri_path: Sequence[str]) -> Path:
    """Return the path that Uri-Path options stand for: a slash at the end makes no difference."""
    path = tuple(uri_path)
    return path[:-1] if path and not path[-1] else path
