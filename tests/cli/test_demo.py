"""The demo shows the main job, and notices if it does not work."""

from __future__ import annotations

import subprocess
import sys

import pytest
from trio.testing import MockClock

from trio_coap import Site
from trio_coap.cli import demo


@pytest.mark.slow
def test_the_demo_ends_by_itself_and_shows_what_it_promises() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "trio_coap.cli.demo"), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("CON GET /hello", "CON PUT /lamp", "ACK, empty", "CON 2.05 Content", "(2nd time)", "  RST ", "4.04"):
        assert words in done.stdout
    assert "Observe: 1" in done.stdout
    assert "block 255 of 1024 octets, the last one" in done.stdout
    assert "(sent [##############################] 100 % of 262144 octets)" in done.stdout
    assert "(3rd time)" not in done.stdout
    assert "All went as it should: 7 scenes" in done.stdout


def test_the_demo_notices_what_goes_wrong(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "make_site", Site)
    assert demo.main() == 1
    assert f"That did not go as it should: /hello says {'there is nothing at /hello'!r}" in capsys.readouterr().out


async def test_a_datagram_that_never_comes_is_noticed(autojump_clock: MockClock) -> None:
    with pytest.raises(demo.WrongTurn, match="a miracle did not happen"):
        await demo.Recorder().wait_for(lambda: False, "a miracle")
