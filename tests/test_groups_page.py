"""The examples of the pages on groups and on worker processes do what the pages say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.test_tutorial import examples, execute

PATIENCE = 60

GROUPS = examples("groups.md")
WORKERS = examples("workers.md")


def test_the_pages_have_their_examples() -> None:
    assert [bool(output) for _, output in GROUPS + WORKERS] == [True, True]


@pytest.mark.parametrize(("source", "output"), GROUPS)
async def test_the_example_of_groups_prints_what_the_page_says(
    source: str, output: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for call in execute(source, monkeypatch):
        await call[0](*call[1:])
    assert capsys.readouterr().out == output


@pytest.mark.slow
@pytest.mark.parametrize(("source", "output"), WORKERS)
def test_the_example_of_workers_prints_what_the_page_says(source: str, output: str) -> None:
    """In a process of its own: it forks."""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.stdout, done.returncode) == (output, 0), done.stderr
