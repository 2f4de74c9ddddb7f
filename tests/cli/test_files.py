"""The handler behind ``coap serve``, in virtual time; the disk answers at once."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_coap import Client, Code, Request, Response
from trio_coap.cli import files, watching
from trio_coap.cli.files import FileHandler, format_of
from trio_coap.cli.tree import Replacement, Tree
from trio_coap.server import Server, serve
from trio_coap.server.representations import file_etag
from trio_coap.testing.network import open_network
from trio_coap.wire.linkformat import parse_links

LONG = bytes(range(256)) * 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "below").mkdir(parents=True)
    (root / "a.txt").write_text("content")
    (root / "long.bin").write_bytes(LONG)
    (root / "below" / "ü b.json").write_text("{}")
    (root / "link").symlink_to("a.txt")
    (tmp_path / "secret").write_text("secret")
    return root


async def at_once(function: Callable[..., Any], *args: Any) -> Any:
    """Stands for a thread: virtual time does not wait for one."""
    await trio.lowlevel.checkpoint()
    return function(*args)


@asynccontextmanager
async def served(root: Path, *, may_write: bool = True, max_body: int = 100_000, log=None) -> AsyncIterator[Client]:
    tree = Tree(str(root))
    in_thread: Any = at_once
    handler = FileHandler(tree, may_write=may_write, max_body=max_body, log=log, in_thread=in_thread)
    try:
        async with (
            open_network() as network,
            network.open_endpoint("server", 5683) as endpoint,
            network.open_endpoint("client") as local,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(handler.watching.run)

            async def start(task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
                await serve(handler, endpoint=endpoint, task_status=task_status)

            await nursery.start(start)
            yield Client(local, endpoint.uri)
            nursery.cancel_scope.cancel()
    finally:
        tree.close()


async def test_a_file_comes_with_its_format_and_etag(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client:
        response = await client.get("/a.txt")
    assert (response.code, response.payload, response.options.content_format) == (Code.CONTENT, b"content", 0)
    file = await trio.to_thread.run_sync(partial(open, root / "a.txt", "rb"))
    with file:
        assert response.options.etag == file_etag(file)


async def test_a_long_file_comes_in_blocks(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client:
        assert (await client.get("/long.bin", block_size=64)).payload == LONG


async def test_a_file_that_changes_while_it_is_read_is_read_again(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client:
        first = await client.request(Code.GET, "/long.bin").__aenter__()
        await first.receive()
        (root / "long.bin").write_bytes(LONG + b"!")
        assert (await client.get("/long.bin")).payload == LONG + b"!"


async def test_what_the_client_has_is_valid(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client:
        for path in ("/a.txt", "/below", "/.well-known/core"):
            etag = (await client.get(path)).options.etag
            response = await client.get(path, etag=etag)
            assert (response.code, response.payload, response.options.etag) == (Code.VALID, b"", etag)


@pytest.mark.parametrize("path", ["/", "/.well-known/core"])
async def test_a_directory_is_links(autojump_clock: MockClock, root: Path, path: str) -> None:
    async with served(root) as client:
        response = await client.get(path)
    links = {link.target: link for link in parse_links(response.payload)}
    assert response.options.content_format == 40
    assert [target for target in links if target != "/"] == ["/a.txt", "/below/", "/long.bin"]
    assert (links["/long.bin"].sz, links["/long.bin"].ct, links["/below/"].ct) == (len(LONG), ("42",), ("40",))
    assert all(link.is_observable for link in links.values())


async def test_what_is_listed_can_be_asked_for(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client:
        for path in ("/below", "/below/"):
            (link,) = parse_links((await client.get(path)).payload)
            assert link.target == "/below/%C3%BC%20b.json"
            assert (await client.get(link.target)).payload == b"{}"


async def test_a_query_filters_a_listing(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client:
        assert [link.target for link in await client.discover(ct=42)] == [f"{client_base(client)}/long.bin"]
        assert (await client.get("/?nonsense")).code == Code.BAD_REQUEST


def client_base(client: Client) -> str:
    return str(client._finder.base_uri).rstrip("/")


@pytest.mark.parametrize(
    ("path", "accept", "code"),
    [
        ("/a.txt", 0, Code.CONTENT),
        ("/a.txt", 50, Code.NOT_ACCEPTABLE),
        ("/", 40, Code.CONTENT),
        ("/", 0, Code.NOT_ACCEPTABLE),
    ],
)
async def test_accept_is_honoured(autojump_clock: MockClock, root: Path, path: str, accept: int, code: Code) -> None:
    async with served(root) as client:
        assert (await client.get(path, accept=accept)).code == code


@pytest.mark.parametrize(
    "path", ["/%2E%2E/secret", "/..%2Fsecret", "/link", "/below%2F..", "/nothing", "/a.txt/b", "/%00"]
)
async def test_there_is_no_way_out(autojump_clock: MockClock, root: Path, path: str) -> None:
    async with served(root) as client:
        response = await client.get(path)
    assert (response.code, response.text) == (Code.NOT_FOUND, "there is no such file")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/link", Code.FORBIDDEN),
        ("/..%2Fsecret", Code.FORBIDDEN),
        ("/.new", Code.FORBIDDEN),
        ("/nowhere/new", Code.NOT_FOUND),
        ("/below", Code.METHOD_NOT_ALLOWED),
    ],
)
async def test_what_cannot_be_written(autojump_clock: MockClock, root: Path, path: str, code: Code) -> None:
    async with served(root) as client:
        response = await client.put(path, b"x")
    assert response.code == code
    assert str(root) not in response.text
    assert (root.parent / "secret").read_text() == "secret"


async def test_without_leave_to_write_nothing_is_written(autojump_clock: MockClock, root: Path) -> None:
    async with served(root, may_write=False) as client:
        for body in (b"x", LONG):
            assert (await client.put("/a.txt", body)).code == Code.METHOD_NOT_ALLOWED
        assert (await client.put("/a.txt", b"x", if_match=[b""])).code == Code.METHOD_NOT_ALLOWED
        assert (await client.delete("/a.txt")).code == Code.METHOD_NOT_ALLOWED
    assert (root / "a.txt").read_text() == "content"


@pytest.mark.parametrize("method", ["post", "fetch", "patch", "ipatch"])
async def test_other_methods_are_not_allowed(autojump_clock: MockClock, root: Path, method: str) -> None:
    async with served(root) as client:
        assert (await getattr(client, method)("/a.txt", b"x")).code == Code.METHOD_NOT_ALLOWED


@pytest.mark.parametrize("body", [b"", b"short", LONG])
async def test_put_makes_a_file_and_replaces_it(autojump_clock: MockClock, root: Path, body: bytes) -> None:
    async with served(root) as client:
        assert (await client.put("/below/new", body)).code == Code.CREATED
        assert (await client.put("/below/new", body + b"!")).code == Code.CHANGED
        assert (await client.get("/below/new")).payload == body + b"!"
    assert sorted(os.listdir(root / "below")) == ["new", "ü b.json"]


async def test_a_body_that_does_not_come_to_its_end_leaves_nothing(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client:
        with trio.move_on_after(0.05):

            async def body() -> AsyncIterator[bytes]:
                yield LONG
                await trio.sleep_forever()

            async with client.stream(Code.PUT, "/a.txt", body()):
                pytest.fail("half a body was answered")
        assert any(name.endswith(".part") for name in os.listdir(root))
        await trio.sleep(300)
        assert sorted(os.listdir(root)) == ["a.txt", "below", "link", "long.bin"]
    assert (root / "a.txt").read_text() == "content"


async def test_a_body_that_is_too_large_is_refused(autojump_clock: MockClock, root: Path) -> None:
    async with served(root, max_body=len(LONG) - 1) as client:
        response = await client.put("/a.txt", LONG)
    assert response.code == Code.REQUEST_ENTITY_TOO_LARGE
    assert (root / "a.txt").read_text() == "content"


async def test_if_match(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client:
        etag = (await client.get("/a.txt")).options.etag
        assert etag is not None
        assert (await client.put("/a.txt", b"x", if_match=[b"other"])).code == Code.PRECONDITION_FAILED
        assert (await client.put("/a.txt", LONG, if_match=[b"other", etag])).code == Code.CHANGED
        assert (await client.put("/a.txt", b"x", if_match=[etag])).code == Code.PRECONDITION_FAILED
        assert (await client.put("/a.txt", b"x", if_match=[b""])).code == Code.CHANGED
        assert (await client.put("/new", b"x", if_match=[b""])).code == Code.PRECONDITION_FAILED
        assert (await client.delete("/a.txt", if_match=[etag])).code == Code.PRECONDITION_FAILED
        assert (await client.delete("/new", if_match=[b""])).code == Code.PRECONDITION_FAILED


async def test_if_none_match(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client:
        assert (await client.put("/a.txt", b"x", if_none_match=True)).code == Code.PRECONDITION_FAILED
        assert (await client.put("/new", LONG, if_none_match=True)).code == Code.CREATED
        assert (await client.put("/new", LONG, if_none_match=True)).code == Code.PRECONDITION_FAILED


async def test_delete(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client:
        assert (await client.delete("/a.txt")).code == Code.DELETED
        assert (await client.delete("/a.txt")).code == Code.DELETED
        assert (await client.delete("/below")).code == Code.METHOD_NOT_ALLOWED
        assert (await client.delete("/link")).code == Code.FORBIDDEN
    assert sorted(os.listdir(root)) == ["below", "link", "long.bin"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, Code.INTERNAL_SERVER_ERROR),
        (errno.EROFS, Code.FORBIDDEN),
        (errno.EIO, Code.INTERNAL_SERVER_ERROR),
    ],
)
async def test_what_the_disk_says_is_told_without_its_paths(
    autojump_clock: MockClock, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: Code
) -> None:
    def write(self: Replacement, octets: bytes) -> None:
        raise OSError(number, os.strerror(number), str(root))

    monkeypatch.setattr(Replacement, "write", write)
    async with served(root) as client:
        response = await client.put("/a.txt", LONG)
    assert response.code == code
    assert str(root) not in response.text
    assert sorted(os.listdir(root)) == ["a.txt", "below", "link", "long.bin"]


async def states(client: Client, path: str, changes: list[Callable[[], object]]) -> list[Response]:
    """Observe *path*, make the *changes* one after the other, and return all states."""
    found = []
    async with client.observe(path) as observation:
        async for response in observation:
            found.append(response)
            if not changes:
                break
            await trio.sleep(5)
            changes.pop(0)()
    return found


async def test_observers_of_a_file_are_told_of_changes(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client:
        found = await states(
            client,
            "/a.txt",
            [lambda: (root / "a.txt").write_text("changed"), lambda: (root / "a.txt").write_bytes(LONG)],
        )
    assert [response.payload for response in found] == [b"content", b"changed", LONG]


async def test_a_change_comes_within_two_looks(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client, client.observe("/a.txt") as observation:
        await observation.receive()
        await trio.sleep(20)
        (root / "a.txt").write_text("changed")
        with trio.fail_after(2 * watching.INTERVAL):
            assert (await observation.receive()).text == "changed"


async def test_what_a_client_writes_is_told_at_once(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client, client.observe("/a.txt") as observation, client.observe("/") as of_all:
        for one in (observation, of_all):
            await one.receive()
        await client.put("/a.txt", b"changed, and longer")
        with trio.fail_after(watching.INTERVAL / 2):
            assert (await observation.receive()).text == "changed, and longer"
            assert b"sz=19" in (await of_all.receive()).payload


async def test_observers_of_a_directory_are_told_of_files(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client:
        found = await states(
            client, "/below/", [lambda: (root / "below" / "new").touch(), lambda: (root / "below" / "new").unlink()]
        )
    assert [b"/below/new" in response.payload for response in found] == [False, True, False]


async def test_removing_a_file_ends_its_observations(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client:
        *_, last = await states(client, "/a.txt", [(root / "a.txt").unlink, lambda: None])
    assert last.code == Code.NOT_FOUND


async def test_a_change_between_two_registrations_is_not_lost(autojump_clock: MockClock, root: Path) -> None:
    async with served(root) as client, client.observe("/a.txt") as early:
        await early.receive()
        (root / "a.txt").write_text("changed")
        async with client.observe("/a.txt") as late:
            assert (await late.receive()).text == "changed"
            with trio.fail_after(2 * watching.INTERVAL):
                assert (await early.receive()).text == "changed"


async def test_a_look_that_cannot_be_had_changes_nothing(autojump_clock: MockClock, root: Path, monkeypatch) -> None:
    def refuse(self: Tree, path: tuple[str, ...]) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with served(root) as client, client.observe("/a.txt") as observation:
        assert (await anext(observation)).payload == b"content"
        with monkeypatch.context() as patched:
            patched.setattr(Tree, "open", refuse)
            await trio.sleep(5)
        (root / "a.txt").write_text("changed")
        assert (await anext(observation)).payload == b"changed"


async def test_a_client_is_told_to_come_back_when_too_many_files_are_open(
    autojump_clock: MockClock, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Tree, path: tuple[str, ...]) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Tree, "open", refuse)
    async with served(root) as client:
        assert (await client.get("/a.txt")).code == Code.SERVICE_UNAVAILABLE


async def test_a_directory_with_too_many_entries_is_not_listed(
    autojump_clock: MockClock, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_coap.cli.tree.MAX_ENTRIES", 1)
    async with served(root) as client:
        assert (await client.get("/below")).code == Code.CONTENT
        response = await client.get("/")
    assert (response.code, response.text[:9]) == (Code.INTERNAL_SERVER_ERROR, "more than")


async def test_a_listing_is_made_in_a_thread(autojump_clock: MockClock, root: Path) -> None:
    called: list[str] = []

    async def recording(function: Callable[..., Any], *args: Any) -> Any:
        called.append(function.__name__)
        return await at_once(function, *args)

    tree = Tree(str(root))
    in_thread: Any = recording
    try:
        await FileHandler(tree, in_thread=in_thread)(Request(Code.GET))
    finally:
        tree.close()
    assert called == ["open", "_listing"]


def test_the_format_of_an_ending_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []

    def look_up(name: str) -> int:
        looked_up.append(name)
        return 23

    monkeypatch.setattr("trio_coap.cli.files.content_format_of", look_up)
    files._number_of.cache_clear()
    try:
        for number in range(100):
            assert format_of(f"{number}.png") == 23
    finally:
        files._number_of.cache_clear()
    assert looked_up == ["image/png"]


@pytest.mark.parametrize(
    ("path", "content_format", "code"),
    [
        ("/new.json", 50, Code.CREATED),
        ("/new.json", 0, Code.CREATED),
        ("/new.json", 42, Code.CREATED),
        ("/new.json", None, Code.CREATED),
        ("/new.bin", 60, Code.CREATED),
        ("/new.json", 60, Code.UNSUPPORTED_CONTENT_FORMAT),
        ("/new.cbor", 0, Code.UNSUPPORTED_CONTENT_FORMAT),
    ],
)
async def test_a_body_has_the_format_that_the_name_says(
    autojump_clock: MockClock, root: Path, path: str, content_format: int | None, code: Code
) -> None:
    async with served(root) as client:
        assert (await client.put(path, b"1", content_format=content_format)).code == code
    assert (root / path[1:]).exists() == (code == Code.CREATED)


async def test_requests_are_logged_with_their_codes(autojump_clock: MockClock, root: Path) -> None:
    logged: list[tuple[str, Code]] = []

    def log(request: Request, code: Code) -> None:
        logged.append((request.options.uri_path[0], code))

    async with served(root, log=log) as client:
        for path in ("/a.txt", "/nothing"):
            await client.get(path)
    assert logged == [("a.txt", Code.CONTENT), ("nothing", Code.NOT_FOUND)]


@pytest.mark.parametrize(
    ("name", "content_format"),
    [
        ("a.txt", 0),
        ("a.JSON", 50),
        ("a.cbor", 60),
        ("a.xml", 41),
        ("a.png", 23),
        ("a.csv", 42),
        ("a.json.gz", 42),
        ("a", 42),
    ],
)
def test_the_format_is_what_the_name_says(name: str, content_format: int) -> None:
    assert format_of(name) == content_format
