"""The measuring functions of the benchmarks, with tiny sizes: that they measure what they say; nothing here measures time."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio

from bench import blockwise, clients, codec, collector, curves, imports, memory, notifications
from bench.__main__ import MODULES
from bench.children import Child, running
from bench.engine import open_silent_server, plain_site
from bench.load import build
from bench.minimalclient import MinimalClient
from bench.rounds import Benchmark, Skipped
from bench.stages import Traffic
from trio_coap import Code, Request, Server, Site, serve

ANSWER = clients.ANSWER


@asynccontextmanager
async def serving(site: Site) -> AsyncIterator[int]:
    """Serve on loopback and give the port."""
    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(lambda task_status: serve(site, "127.0.0.1", 0, task_status=task_status))
        yield server.endpoint.port
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def serving_answer() -> AsyncIterator[int]:
    """Answer GET /t, without a Content-Format, as the sink in C does, and give the port."""
    site = Site()
    site.get("/t")(lambda request: ANSWER)
    async with serving(site) as port:
        yield port


# The rows.


def all_benchmarks() -> Iterator[Benchmark]:
    for module in MODULES:
        for is_full in (False, True):
            yield from importlib.import_module(f"bench.{module}").benchmarks(is_full)


def test_goals_are_about_contestants_and_measures_that_there_are() -> None:
    for benchmark in all_benchmarks():
        names = {measure.name for measure in benchmark.measures}
        for goal in benchmark.goals:
            assert goal.contestant in benchmark.contestants
            assert goal.against is None or goal.against in benchmark.contestants
            assert goal.measure is None or goal.measure in names
        for name in (benchmark.reference, benchmark.limit):
            assert name is None or name in benchmark.contestants, benchmark.name


@pytest.mark.parametrize("is_full", [False, True])
def test_benchmarks_have_names_of_their_own(is_full: bool) -> None:
    benchmarks = [each for name in MODULES for each in importlib.import_module(f"bench.{name}").benchmarks(is_full)]
    names = [benchmark.name for benchmark in benchmarks]
    assert len(set(names)) == len(names)


# Processes.


def test_a_child_answers_each_line_with_one() -> None:
    with running([sys.executable, "-c", "while True: print(input()[::-1], flush=True)"]) as child:
        assert child.ask("abc") == "cba"
        assert child.ask("de") == "ed"


def test_a_child_that_ends_has_failed() -> None:
    child = Child([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(RuntimeError, match="has ended with 3"):
        child.read()
    child.end()


# The codec.


@pytest.mark.parametrize("measure", [codec.measure_ours, codec.measure_aiocoap, codec.measure_minimal])
def test_a_codec_has_a_figure_for_each_measure(measure: object) -> None:
    assert callable(measure)
    figures = measure(50)
    assert figures.keys() == {"decode", "decode and read", "encode", "make and encode"}


def test_each_datagram_to_decode_is_another_one() -> None:
    assert len(set(codec.datagrams(300))) == 300


@pytest.mark.parametrize("cut_off", [5, 9, len(codec.DATAGRAM) - 64])
def test_the_minimal_decoder_checks_what_a_decoder_must(cut_off: int) -> None:
    with pytest.raises(ValueError):
        codec.minimal_decode(codec.DATAGRAM[:cut_off])


def test_the_minimal_decoder_reads_extended_lengths() -> None:
    request = Request(Code.GET, message_id=7, uri_path=("x" * 20,), proxy_uri="y" * 300, size1=3)
    options = codec.minimal_decode(request.encode())[4]
    assert options == [(11, b"x" * 20), (35, b"y" * 300), (60, b"\x03")]


# Clients.


class Ticking:
    """A clock that goes on by a second whenever somebody looks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        self.seconds += 1
        return self.seconds


@pytest.mark.parametrize("open_get", [clients.open_ours, clients.open_minimal, clients.open_minimal_with_deadline])
async def test_a_client_sends_requests_from_several_tasks(
    open_get: clients.OpenGet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "time", Ticking())
    async with serving_answer() as port:
        assert 10 <= await clients.run_on_trio(open_get, port, 3, 20) < 20


async def test_a_client_goes_on_from_another_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    @asynccontextmanager
    async def open_get(port: int) -> AsyncIterator[clients.Get]:
        opened.append(port)

        async def get() -> bytes:
            await trio.lowlevel.checkpoint()
            return ANSWER

        yield get

    monkeypatch.setattr(clients, "PER_ENDPOINT", 5)
    monkeypatch.setattr(clients, "time", Ticking())
    total = await clients.run_on_trio(open_get, 1, 2, 30)
    assert len(opened) > 1
    assert 5 < total <= 5 * len(opened)


async def test_the_minimal_client_gets_the_payload() -> None:
    async with serving_answer() as port, MinimalClient.open(port) as client:
        assert await client.get() == ANSWER


# Block-wise transfers and notifications.


async def test_a_body_goes_down_and_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockwise, "BODY", bytes(5000))
    async with serving(blockwise.make_site()) as port:
        down, up = await blockwise.move_ours(port, 0.0, os.getpid())
    assert down[0] > 0
    assert up[0] > 0


@pytest.mark.parametrize("type", [notifications.NON, notifications.CON])
async def test_all_observers_get_each_state(type: str) -> None:
    try:
        program = str(build("observers"))
    except Skipped as exc:
        pytest.skip(str(exc))
    async with serving(notifications.make_site(type)) as port:
        done = await trio.run_process([program, str(port), "3", "0.02", "1"], capture_stdout=True)
    arrived, seconds, lost = map(float, done.stdout.split())
    assert arrived > 0
    assert (arrived + lost) % 3 == 0
    assert seconds >= 0.02


# What is in the process.


@pytest.mark.parametrize("name", curves.CURVES)
async def test_a_curve_is_measured_at_a_size(name: str) -> None:
    async with curves.CURVES[name].stage(12) as measured:
        assert curves.measure_within(measured, 20) > 0


async def test_traffic_keeps_as_many_exchanges_as_it_shall() -> None:
    async with open_silent_server(plain_site()) as endpoint:
        traffic = Traffic(endpoint, 40, 4)
        before = endpoint.statistics()
        traffic.measure(100)
        after = endpoint.statistics()
    # Times are floating-point numbers: one more or less may be due just now.
    assert before.received in (39, 40, 41)
    assert after.received in (39, 40, 41)
    assert after.remotes == before.remotes == 4


async def test_exchanges_that_come_and_expire_leave_nothing() -> None:
    figures = await collector.fill(300, is_limited=True)
    assert figures["longest answer"] > 0
    assert figures["objects in the fullest"] > 300


async def test_an_exchange_takes_memory() -> None:
    assert 100 < await memory.traced(100, 1) < 10_000


def test_an_import_is_timed_in_a_process_of_its_own() -> None:
    assert imports.import_time("import json", "sys", 1)["import"] > 0
    assert imports.process_time(["-c", "pass"], 1) > 0
