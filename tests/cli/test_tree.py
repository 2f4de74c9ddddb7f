"""The files below a directory: what is there, and that there is no way out."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from trio_coap.cli.tree import ConditionFailed, Listing, Tree, etag_of, is_visible, segments


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with something beside it that must not be reached."""
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file.txt").write_text("secret")
    root = tmp_path / "root"
    (root / "below").mkdir(parents=True)
    (root / "file.txt").write_text("content")
    (root / "below" / "deep.txt").write_text("deep")
    (root / ".hidden").write_text("hidden")
    (root / ".hiding").mkdir()
    (root / ".hiding" / "file.txt").write_text("hidden")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "inner.txt").symlink_to("file.txt")
    (root / "way").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture
def tree(root: Path) -> Iterator[Tree]:
    before = open_descriptors()
    tree = Tree(str(root))
    yield tree
    tree.close()
    assert open_descriptors() == before


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def read(tree: Tree, *path: str) -> bytes:
    found = tree.open(path)
    assert not isinstance(found, Listing)
    with found:
        return found.read()


def store(tree: Tree, *path: str, content: bytes = b"new", condition=lambda etag: True) -> bool:
    replacement = tree.begin(path, condition)
    try:
        replacement.write(content)
        return replacement.commit()
    finally:
        replacement.close()


WAYS_OUT = [
    ("..", "secret.txt"),
    ("below", "..", "..", "secret.txt"),
    (".",),
    ("..",),
    ("../secret.txt",),
    ("below/deep.txt",),
    ("/etc/passwd",),
    ("", "etc", "passwd"),
    ("below", "", "deep.txt"),
    ("file.txt\0",),
    ("link.txt",),
    ("inner.txt",),
    ("loop",),
    ("way", "file.txt"),
    ("way",),
    (".hidden",),
    (".hiding", "file.txt"),
    ("pipe",),
    ("\udcff",),
]


def test_files_and_directories_are_read(tree: Tree) -> None:
    assert read(tree, "file.txt") == b"content"
    assert read(tree, "below", "deep.txt") == b"deep"
    listing = tree.open(())
    assert isinstance(listing, Listing)
    assert [(entry.name, entry.is_directory, entry.size) for entry in listing.entries] == [
        ("below", True, 0),
        ("file.txt", False, 7),
    ]


@pytest.mark.parametrize("path", WAYS_OUT)
def test_there_is_no_way_out_for_who_reads(tree: Tree, path: tuple[str, ...]) -> None:
    with pytest.raises((FileNotFoundError, NotADirectoryError)):
        tree.open(path)
    assert tree.etag(path) is None


@pytest.mark.parametrize("path", WAYS_OUT)
def test_there_is_no_way_out_for_who_writes(tree: Tree, root: Path, path: tuple[str, ...]) -> None:
    before = snapshot(root.parent)
    with pytest.raises((PermissionError, NotADirectoryError)):
        store(tree, *path)
    with suppress(OSError):  # Below a link to a directory there is nothing, and removing that is done at once.
        tree.remove(path, lambda etag: True)
    assert snapshot(root.parent) == before


def snapshot(directory: Path) -> list[tuple[str, bytes | None]]:
    found = sorted(directory.rglob("*"))
    return [(str(path), path.read_bytes() if path.is_file() else None) for path in found]


def test_a_socket_is_not_served(tree: Tree, root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        where = os.getcwd()
        os.chdir(root)  # The path of a socket is short.
        try:
            sock.bind("socket")
        finally:
            os.chdir(where)
        with pytest.raises(FileNotFoundError):
            tree.open(("socket",))


def test_a_file_that_becomes_a_link_is_not_followed(tree: Tree, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = os.stat

    def stat_and_exchange(name, **arguments):  # Somebody is quick, between looking and opening.
        status = stat(name, **arguments)
        (root / "file.txt").unlink(missing_ok=True)
        (root / "file.txt").symlink_to(root.parent / "secret.txt")
        return status

    monkeypatch.setattr(os, "stat", stat_and_exchange)
    with pytest.raises(OSError) as caught:
        tree.open(("file.txt",))
    assert caught.value.errno == errno.ELOOP


def test_a_file_that_becomes_a_pipe_does_not_block(tree: Tree, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = os.stat

    def stat_and_exchange(name, **arguments):
        status = stat(name, **arguments)
        (root / "file.txt").unlink(missing_ok=True)
        os.mkfifo(root / "file.txt")
        return status

    monkeypatch.setattr(os, "stat", stat_and_exchange)
    with pytest.raises(FileNotFoundError):
        tree.open(("file.txt",))


def test_the_directory_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    tree = Tree(str(tmp_path / "alias"))
    assert read(tree, "file.txt") == b"content"
    tree.close()


def test_storing_makes_and_replaces(tree: Tree, root: Path) -> None:
    assert store(tree, "below", "fresh", content=b"1")
    assert not store(tree, "below", "fresh", content=b"2")
    assert (root / "below" / "fresh").read_bytes() == b"2"
    assert sorted(os.listdir(root / "below")) == ["deep.txt", "fresh"]


def test_who_reads_has_the_old_file_to_its_end(tree: Tree) -> None:
    found = tree.open(("file.txt",))
    assert not isinstance(found, Listing)
    with found:
        store(tree, "file.txt")
        assert found.read() == b"content"
    assert read(tree, "file.txt") == b"new"


def test_what_is_not_committed_leaves_nothing(tree: Tree, root: Path) -> None:
    before = snapshot(root)
    replacement = tree.begin(("file.txt",), lambda etag: True)
    replacement.write(b"half of it")
    replacement.close()
    assert snapshot(root) == before


def test_the_mode_of_a_file_stays(tree: Tree, root: Path) -> None:
    (root / "file.txt").chmod(0o640)
    store(tree, "file.txt")
    assert (root / "file.txt").stat().st_mode & 0o777 == 0o640


def test_what_is_written_does_not_run_as_somebody_else(tree: Tree, root: Path) -> None:
    (root / "file.txt").chmod(0o4755)
    store(tree, "file.txt")
    assert (root / "file.txt").stat().st_mode & 0o7777 == 0o755


def test_directories_are_neither_written_nor_removed_nor_made(tree: Tree) -> None:
    for path in [("below",), ()]:
        with pytest.raises(IsADirectoryError):
            store(tree, *path)
        with pytest.raises(IsADirectoryError):
            tree.remove(path, lambda etag: True)
    with pytest.raises(FileNotFoundError):
        store(tree, "nowhere", "file")


def test_the_condition_sees_the_etag_of_what_is_there(tree: Tree, root: Path) -> None:
    before = tree.etag(("file.txt",))
    store(tree, "file.txt", condition=lambda etag: etag == before is not None)
    store(tree, "fresh", condition=lambda etag: etag is None)
    assert tree.etag(("fresh",)) == etag_of(os.stat(root / "fresh"))


def test_a_condition_that_fails_at_the_end_leaves_the_file(tree: Tree, root: Path) -> None:
    etag = tree.etag(("file.txt",))
    replacement = tree.begin(("file.txt",), lambda found: found == etag)
    replacement.write(b"late")
    (root / "file.txt").write_text("somebody was quicker")
    with pytest.raises(ConditionFailed):
        replacement.commit()
    replacement.close()
    assert read(tree, "file.txt") == b"somebody was quicker"
    assert sorted(os.listdir(root / "below")) == ["deep.txt"]


def test_of_two_who_make_the_same_file_one_fails(tree: Tree) -> None:
    both = [tree.begin(("fresh",), lambda etag: etag is None) for _ in range(2)]
    for number, replacement in enumerate(both):
        replacement.write(b"%d" % number)
    assert both[1].commit()
    with pytest.raises(ConditionFailed):
        both[0].commit()
    for replacement in both:
        replacement.close()
    assert read(tree, "fresh") == b"1"


def test_a_file_system_without_links_will_do(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    assert store(tree, "fresh")
    assert read(tree, "fresh") == b"new"


def test_removing_what_is_not_there_is_fine_if_the_condition_holds(tree: Tree) -> None:
    tree.remove(("nothing",), lambda etag: etag is None)
    tree.remove(("nowhere", "nothing"), lambda etag: etag is None)
    with pytest.raises(ConditionFailed):
        tree.remove(("nowhere", "nothing"), lambda etag: etag is not None)


def test_a_listing_has_another_etag_when_a_file_in_it_grows(tree: Tree, root: Path) -> None:
    before = tree.etag(())
    (root / "file.txt").write_text("longer content")
    assert tree.etag(()) != before


@pytest.mark.parametrize(("name", "is_seen"), [("a", True), ("ü b", True), ("..", False), ("", False), ("a/b", False)])
def test_names(name: str, is_seen: bool) -> None:
    assert is_visible(name) is is_seen


def test_a_slash_at_the_end_makes_no_difference() -> None:
    assert segments(["a", "b", ""]) == segments(["a", "b"]) == ("a", "b")
    assert segments([""]) == segments([]) == ()
    assert segments(["a", "", ""]) == ("a", "")
