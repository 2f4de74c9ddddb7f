"""``docs/plugtest.md`` says what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.plugtest.etsi import NOT_APPLICABLE
from tests.plugtest.rawclient import RawClient
from tests.plugtest.test_td_coap_link import discover
from trio_coap import Response, Site
from trio_coap.cli.parser import VERBS, read_words

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "plugtest.md").read_text(encoding="utf-8")


def test_every_command_can_be_read() -> None:
    commands = re.findall(r"^\$ coap (.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        assert read_words(shlex.split(command)).verb in VERBS


async def test_the_table_has_every_resource_that_can_be_discovered(client: RawClient) -> None:
    named = set(re.findall(r"`(/[a-z0-9./-]+)`", PAGE))
    assert (await discover(client)).keys() | {"/.well-known/core"} <= named


def test_the_table_has_every_test_that_does_not_apply() -> None:
    (table,) = re.findall(r"\| test \| why not \|\n(.*?)\n\n", PAGE, re.DOTALL)
    numbers = {identifier: any(_covers(row, identifier) for row in table.splitlines()) for identifier in NOT_APPLICABLE}
    assert numbers == dict.fromkeys(NOT_APPLICABLE, True)


def _covers(row: str, identifier: str) -> bool:
    part, number = identifier.rsplit("_", 1)
    ranges = re.findall(rf"{part}_(\d\d)((?: to \d\d|, \d\d)*)", row)
    for first, others in ranges:
        last = others.removeprefix(" to ") if others.startswith(" to ") else first
        listed = [one.strip() for one in others.split(",")]
        if first <= number <= last or number in listed:
            return True
    return False


async def test_the_example_is_a_site() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(source, "plugtest.md", "exec"), names)
    site, stored = names["site"], names["stored"]
    assert isinstance(site, Site)
    assert isinstance(stored, list)
    stored.append(Response(payload="x"))
    assert site.resource("/create1").has_handlers
