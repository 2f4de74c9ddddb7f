"""The plugin for pytest, in runs of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def run_pytest(folder: Path, test: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on one file, with this plugin and those that are given."""
    (folder / "test_it.py").write_text(test, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "trio_coap.testing.plugin", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


async def test_the_fixture_is_a_running_network(coap_network, autojump_clock):
    async with coap_network.open_endpoint("a"):
        assert coap_network.seed == 0


@pytest.mark.coap_network(seed=7, loss=0.3, max_trace=5)
async def test_the_marker_says_what_the_network_is_like(coap_network, autojump_clock):
    assert coap_network.seed == 7
    assert coap_network.link.loss == 0.3


@pytest.mark.slow
def test_the_fixture_works_with_the_marker_of_pytest_trio(tmp_path):
    test = """
        import pytest

        @pytest.mark.trio
        @pytest.mark.coap_network(seed=1)
        async def test_it(coap_network, autojump_clock):
            assert coap_network.seed == 1
    """.replace("\n        ", "\n")
    done = run_pytest(tmp_path, test, "-p", "pytest_trio.plugin", "--strict-markers")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_without_pytest_trio_the_plugin_does_no_harm(tmp_path):
    test = """
        import sys

        def test_it():
            assert "pytest_trio" not in sys.modules
    """.replace("\n        ", "\n")
    done = run_pytest(tmp_path, test, "-W", "error", "--strict-markers")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
