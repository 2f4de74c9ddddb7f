"""A handler that serves the files of a :class:`Tree`.

=====================================================  ===============================================
what is asked for                                      what happens
=====================================================  ===============================================
GET of a file                                          its content, streamed, with an ETag
GET of a directory, ``/.well-known/core``              links to what is in it; a query filters them
PUT                                                    the file is made (2.01) or replaced (2.04), once the
                                                       whole body is here
DELETE                                                 the file is removed (2.02), if there is one
If-Match, If-None-Match that do not hold               4.12
the client has it (ETag)                               2.03
an Accept that is not the file's format                4.06
what there is not, or not to be seen                   4.04
what the system or the tree forbids                    4.03
a body in another format than the file's name says    4.15
too many files are open                                5.03
anything else; writing where it is not allowed         4.05
=====================================================  ===============================================

Rule 1: the disk is asked in a thread.  Rule 2: an error says what is the matter, not where on our disk.  Rule 3: the format
of a file is what the end of its name says.
"""

from __future__ import annotations

import errno
import logging
import mimetypes
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import BinaryIO, Protocol, TypeVar, TypeVarTuple, final
from urllib.parse import quote

import trio

from trio_coap.cli.describe import is_textual
from trio_coap.cli.tree import (
    MAX_ENTRIES,
    SHORTAGES,
    Condition,
    ConditionFailed,
    Listing,
    Path,
    Tree,
    etag_of,
    segments,
)
from trio_coap.cli.watching import Watching
from trio_coap.server import Observable, StreamedBody, StreamedRequest, block_policy
from trio_coap.wire.codes import Code
from trio_coap.wire.contentformats import LINK_FORMAT, UnknownContentFormat, content_format_of
from trio_coap.wire.linkformat import Link, LinkFormatError, filter_links, format_links
from trio_coap.wire.message import Request, Response
from trio_coap.wire.options import Options
from trio_coap.wire.response_errors import (
    BadRequest,
    Forbidden,
    InternalServerError,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    PreconditionFailed,
    ResponseError,
    ServiceUnavailable,
    UnsupportedContentFormat,
)

_logger = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

CORE: Path = (".well-known", "core")

OCTETS = 42
"""The Content-Format application/octet-stream."""

TEXT = 0
"""The Content-Format text/plain."""

_CONDITIONS = frozenset({1, 5})  # If-Match and If-None-Match
_PATH_CHARACTERS = "!$&'()*+,;=:@"

_FORMATS = {".cbor": "application/cbor", ".xml": "application/xml", ".exi": "application/exi", ".js": "text/javascript"}
_TYPES = mimetypes.MimeTypes(filenames=())  # Not the system's: the same everywhere.

_ERRORS: dict[int | None, tuple[type[ResponseError], str]] = {
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG), (NotFound, "there is no such file")
    ),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), (Forbidden, "that is not allowed")),
    errno.EISDIR: (MethodNotAllowed, "a directory can only be read"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), (InternalServerError, "there is no room left")),
    **dict.fromkeys(SHORTAGES, (ServiceUnavailable, "too many files are open: try again later")),
    errno.E2BIG: (InternalServerError, f"more than {MAX_ENTRIES} entries are not listed"),
}


class InThread(Protocol):
    """Calls a function in a thread, and returns what it returns."""

    def __call__(self, function: Callable[[*Ts], T], /, *args: *Ts) -> Awaitable[T]:
        """Call *function* with *args*."""


@final
class FileHandler:
    """Answers requests with the files of a tree.

    Attributes:
      watching: who observes what; somebody must run it.
    """

    def __init__(
        self,
        tree: Tree,
        *,
        may_write: bool = False,
        max_body: int = 16 * 1024 * 1024,
        log: Callable[[Request, Code], object] | None = None,
        in_thread: InThread = trio.to_thread.run_sync,
    ) -> None:
        """Serve *tree*.

        Args:
          tree: the files.
          may_write: whether clients may make, replace and remove them.
          max_body: how large they may make them, in octets.
          log: is told of each request and the code of its response.
          in_thread: asks the disk.
        """
        self.watching = Watching(self._read_state)
        self._tree = tree
        self._may_write = may_write
        self._log = log
        self._in_thread = in_thread
        # Whatever brings a body is refused before all of it is here, or written as it comes.
        self._streaming = block_policy(streams=True, max_body=max_body)(partial(self._put))

    def understands(self, request: Request) -> frozenset[int]:
        """See :class:`trio_coap.server.dispatcher.UnderstandingHandler`."""
        return _CONDITIONS if request.code in (Code.PUT, Code.DELETE) else frozenset()

    def answers_group(self, request: Request) -> bool:
        """See :class:`trio_coap.server.groups.GroupHandler`: a group is for being found, not for files."""
        return request.code is Code.GET and request.options.uri_path == (".well-known", "core")

    def find_handler(self, request: Request) -> object:
        """Return what has the policy for the body of *request*."""
        return None if request.code in (Code.GET, Code.DELETE) else self._streaming

    def find_observable(self, request: Request) -> tuple[Observable, dict[str, object]] | None:
        """See :class:`trio_coap.server.ObservableHandler`: files and directories can be observed."""
        observable = self.watching.find(segments(request.options.uri_path)) if request.code == Code.GET else None
        return None if observable is None else (observable, {})

    async def __call__(self, request: Request) -> Response | StreamedBody:
        """Answer *request*.

        Raises:
          ResponseError: see the table.
        """
        try:
            with _told():
                answer = await self._answer(request)
        except ResponseError as exc:
            self._tell(request, exc.code)
            raise
        self._tell(request, answer.code or Code.CONTENT)
        return answer

    async def _answer(self, request: Request) -> Response | StreamedBody:
        if request.code == Code.GET:
            return await self._get(request)
        if not self._may_write or request.code not in (Code.PUT, Code.DELETE):
            raise MethodNotAllowed(f"files are not to be changed with {request.code.name} here")
        if request.code == Code.PUT:
            assert isinstance(request, StreamedRequest)
            return await self._put(request)
        return await self._delete(request)

    async def _get(self, request: Request) -> Response | StreamedBody:
        path = segments(request.options.uri_path)
        found = await self._in_thread(self._tree.open, () if path == CORE else path)
        if isinstance(found, Listing):
            etag = found.etag
            self.watching.seen(path, etag)
            response = _respond(request, etag, LINK_FORMAT)
            if response is None:  # It may be long, and others are served meanwhile.
                response = await self._in_thread(_listing, found, path, request)
            return response
        try:
            etag = etag_of(os.fstat(found.fileno()))
            self.watching.seen(path, etag)
            content_format = format_of(path[-1])
            response = _respond(request, etag, content_format)
            if response is None:
                # The server makes the same ETag, and makes another one when the file has changed meanwhile.
                return StreamedBody(_File(found, self._in_thread), options=Options(content_format=content_format))
        except BaseException:
            found.close()
            raise
        found.close()
        return response

    async def _put(self, request: StreamedRequest) -> Response:
        path = segments(request.options.uri_path)
        _require_format(path, request.options.content_format)
        replacement = await self._in_thread(self._tree.begin, path, condition_of(request))
        try:
            async for piece in request.stream():
                await self._in_thread(replacement.write, piece)
            is_new = await self._in_thread(replacement.commit)
        finally:
            replacement.close()
        self.watching.urge()
        return Response(Code.CREATED if is_new else Code.CHANGED)

    async def _delete(self, request: Request) -> Response:
        path = segments(request.options.uri_path)
        await self._in_thread(self._tree.remove, path, condition_of(request))
        self.watching.urge()
        return Response(Code.DELETED)

    async def _read_state(self, path: Path) -> bytes | None:
        return await self._in_thread(self._tree.etag, () if path == CORE else path)

    def _tell(self, request: Request, code: Code) -> None:
        if self._log is not None:
            self._log(request, code)


@final
class _File:
    """A file that is read in a thread; the other methods take no time."""

    def __init__(self, file: BinaryIO, in_thread: InThread) -> None:
        self._file = file
        self._in_thread = in_thread
        self.fileno = file.fileno
        self.seekable = file.seekable
        self.seek = file.seek
        self.tell = file.tell
        self.close = file.close

    async def read(self, size: int) -> bytes:
        return await self._in_thread(self._file.read, size)


def format_of(name: str) -> int:
    """Return the Content-Format of a file with this *name*: that of octets, unless its end says more.

    >>> format_of("a.json"), format_of("a.txt"), format_of("a.tar.gz"), format_of("a")
    (50, 0, 42, 42)
    """
    ending = os.path.splitext(name)[1].lower()
    media_type, coding = _TYPES.guess_type(name)
    media_type = _FORMATS.get(ending, media_type)
    if media_type is None or coding is not None:
        return OCTETS
    return _number_of(media_type)


@cache  # Of the few media types that names have: a listing asks for each file.
def _number_of(media_type: str) -> int:
    try:
        return content_format_of(media_type)
    except UnknownContentFormat:
        return OCTETS


def _require_format(path: Path, given: int | None) -> None:
    """Refuse a body that says to be something else than the name of the file does; any text may be sent as text/plain.

    Raises:
      UnsupportedContentFormat: if it does.
    """
    named = format_of(path[-1]) if path else OCTETS
    if OCTETS in (named, given) or given in (None, named) or (given == TEXT and is_textual(named)):
        return
    raise UnsupportedContentFormat(f"a file of that name has Content-Format {named}, not {given}")


def condition_of(request: Request) -> Condition:
    """Return what If-Match and If-None-Match of *request* demand of the file (:rfc:`7252` section 5.10.8)."""
    wanted, must_be_new = request.options.if_match, request.options.if_none_match

    def holds(etag: bytes | None) -> bool:
        if etag is None:
            return not wanted
        return not must_be_new and (not wanted or b"" in wanted or etag in wanted)

    return holds


def _respond(request: Request, etag: bytes, content_format: int) -> Response | None:
    """Return the response if the client has the content; None if it needs it.

    Raises:
      NotAcceptable: if it wants another format.
    """
    accept = request.options.accept
    if accept is not None and accept != content_format:
        raise NotAcceptable(f"there is Content-Format {content_format}, not {accept}")
    return Response(Code.VALID, etag=etag) if etag in request.options.etags else None


def _listing(listing: Listing, path: Path, request: Request) -> Response:
    """Return the links to what is in a directory."""
    links = [Link("/", {"ct": str(LINK_FORMAT), "obs": None})] if path == CORE else []
    above = "/" + "".join([quote(name, safe=_PATH_CHARACTERS) + "/" for name in path if path != CORE])
    for entry in listing.entries:
        target = above + quote(entry.name, safe=_PATH_CHARACTERS)
        if entry.is_directory:
            links.append(Link(target + "/", {"ct": str(LINK_FORMAT), "obs": None}))
        else:
            about = {"ct": str(format_of(entry.name)), "sz": str(entry.size), "obs": None}
            links.append(Link(target, about))
    try:
        chosen = filter_links(links, request.options.uri_query)
    except LinkFormatError as exc:
        raise BadRequest(str(exc)) from exc
    return Response(Code.CONTENT, format_links(chosen), content_format=LINK_FORMAT, etag=listing.etag)


@contextmanager
def _told() -> Iterator[None]:
    """Turn what the disk says into what the client is told."""
    try:
        yield
    except ConditionFailed:
        raise PreconditionFailed("the file is in another state") from None
    except OSError as exc:
        error, sentence = _ERRORS.get(exc.errno, (InternalServerError, "the file system failed"))
        if error is InternalServerError:
            _logger.error("the file system failed: %s", exc)  # noqa: TRY400 - a full disk is no defect of ours
        raise error(sentence) from None
