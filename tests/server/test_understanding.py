"""Critical options that a handler must say that it processes (RFC 7252 sections 5.4.1 and 5.10.8)."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from trio_coap import Code, LocalProtocolError, Options, Request, Response, Site, UnprocessableResponse
from trio_coap.testing import open_pair

CONDITIONS = [{"if_match": [b"\1"]}, {"if_none_match": True}]


@pytest.mark.parametrize("condition", CONDITIONS, ids=["If-Match", "If-None-Match"])
async def test_a_condition_that_nobody_checks_is_refused_and_nothing_is_done(
    condition: dict[str, object], autojump_clock: MockClock
) -> None:
    site = Site()
    done = []

    @site.put("/lamp")
    def switch(request: Request) -> None:
        done.append(request)

    for handler in (site, switch):
        async with open_pair(handler) as (client, _):
            response = await client.put("/lamp", "on", **condition)  # type: ignore[arg-type]
        assert response.code is Code.BAD_OPTION
    assert done == []


async def test_a_handler_of_a_site_says_which_critical_options_it_processes(autojump_clock: MockClock) -> None:
    site = Site()

    @site.put("/lamp", understands=["If-Match", 5])
    def switch(request: Request) -> str:
        return f"{request.options.if_match} {request.options.if_none_match}"

    @site.get("/lamp")
    def read(request: Request) -> str:
        return "on"

    async with open_pair(site) as (client, _):
        assert (await client.put("/lamp", "on", if_match=[b"\1"])).text == "(b'\\x01',) False"
        assert (await client.put("/lamp", "on", if_none_match=True)).text == "() True"
        assert (await client.get("/lamp", if_match=[b"\1"])).code is Code.BAD_OPTION
        assert (await client.put("/nowhere", "on", if_match=[b"\1"])).code is Code.BAD_OPTION


async def test_an_option_that_no_table_knows_can_be_understood_too(autojump_clock: MockClock) -> None:
    site = Site()

    @site.get("/lamp", understands=[65001])
    def read(request: Request) -> bytes:
        (value,) = request.options.raw(65001)
        return value

    async with open_pair(site) as (client, _):
        options = Options([(65001, b"\7")])
        assert (await client.get("/lamp", options=options)).payload == b"\7"


def test_an_option_that_does_not_exist_cannot_be_understood() -> None:
    with pytest.raises(LocalProtocolError, match="there is no option named 'If-Perhaps'"):
        Site().put("/lamp", understands=["If-Perhaps"])


async def test_what_is_rejected_for_its_options_is_counted_on_both_sides(autojump_clock: MockClock) -> None:
    answers = [Response(Code.CONTENT, options=Options([(65001, b"")])), Response(Code.CONTENT)]
    async with open_pair(lambda request: answers.pop(0)) as (client, server):
        with pytest.raises(UnprocessableResponse):
            await client.get("/r")
        assert (await client.get("/r", if_match=[b"1"])).code is Code.BAD_OPTION
        reason = "a critical option that cannot be processed"
        assert client.endpoint.statistics().rejected == {reason: 1}
        assert server.statistics().rejected == {reason: 1}
