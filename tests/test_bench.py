"""The benchmarks' frame, and their load generator: nothing here measures time."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from bench import __main__ as command
from bench import servers, tables
from bench.load import build, generate
from bench.rounds import Benchmark, Goal, Measure, Result, Skipped, Summary, run
from tests.interop.peers import has_ipv6

RATE = Measure("rate", "1/s", is_higher_better=True)
TIME = Measure("time", "µs")
MACHINE = tables.Machine("a processor", 2, "Linux", "3.11", {"trio": "1"}, 0.0)

needs_generator = pytest.mark.skipif(
    not (shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")), reason="there is no C compiler"
)
needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="there is no ::1 here")


def turns(*figures: float) -> Callable[[], float]:
    """Return a contestant that gives these figures, one in each round."""
    remaining = iter(figures)
    return lambda: next(remaining)


def benchmark(measure: Measure = RATE, **contestants: Callable[[], float]) -> Benchmark:
    return Benchmark("try", "A try", [measure], contestants, "aiocoap")


# The frame.


def test_every_other_round_goes_in_the_opposite_order() -> None:
    order: list[str] = []

    def noting(name: str) -> Callable[[], float]:
        def contestant() -> float:
            order.append(name)
            return 1.0

        return contestant

    run(benchmark(ours=noting("ours"), aiocoap=noting("aiocoap")), 3)
    assert order == ["ours", "aiocoap", "aiocoap", "ours", "ours", "aiocoap"]


def test_a_summary_is_the_median_and_the_extremes() -> None:
    result = run(benchmark(ours=turns(5, 1, 30)), 3)
    assert result.summary("ours") == Summary(5, 1, 30)


def test_a_ratio_is_the_median_of_the_ratios_within_the_rounds() -> None:
    # The medians' ratio would be 20 / 2 = 10.
    result = run(benchmark(ours=turns(10, 20, 80), aiocoap=turns(5, 1, 2)), 3)
    assert result.ratio("ours", "aiocoap") == Summary(20, 2, 40)


def test_a_ratio_of_times_says_how_many_times_as_fast() -> None:
    result = run(benchmark(TIME, ours=turns(2), aiocoap=turns(10)), 1)
    assert result.ratio("ours", "aiocoap") == Summary(5, 5, 5)


@pytest.mark.parametrize(
    ("measure", "figure", "verdict"),
    [
        (RATE, 9, "short"),
        (RATE, 10, "due"),
        (RATE, 16, "moonshot"),
        (TIME, 17, "short"),
        (TIME, 16, "due"),
        (TIME, 10, "moonshot"),
    ],
)
def test_a_figure_is_compared_with_its_goal(measure: Measure, figure: float, verdict: str) -> None:
    due, moonshot = (10, 16) if measure is RATE else (16, 10)
    goal = Goal("a row", "ours", due=due, moonshot=moonshot)
    result = run(benchmark(measure, ours=turns(figure)), 1)
    assert result.verdict(goal) == verdict


def test_a_ratio_is_compared_with_its_goal_where_less_is_better() -> None:
    result = run(benchmark(TIME, ours=turns(2), aiocoap=turns(10)), 1)
    assert result.verdict(Goal("times", "ours", "aiocoap", due=5, moonshot=6)) == "due"


def test_the_limit_of_a_goal_is_what_the_limit_reaches() -> None:
    described = attrs.evolve(benchmark(ours=turns(4), limit=turns(9), aiocoap=turns(2)), limit="limit")
    result = run(described, 1)
    assert result.limit(Goal("times", "ours", "aiocoap")) == 4.5
    assert result.limit(Goal("times", "ours", "aiocoap", limit=7)) == 7
    assert result.limit(Goal("times", "ours", "aiocoap", limit="ours")) == 2


def unavailable() -> float:
    raise Skipped("nobody is there")


def test_a_contestant_that_is_not_there_is_left_out_with_the_reason() -> None:
    result = run(benchmark(ours=turns(1, 2), aiocoap=unavailable), 2)
    assert result.skipped == {"aiocoap": "nobody is there"}
    assert result.ratio("ours", "aiocoap") is None
    assert "aiocoap was skipped: nobody is there" in tables.markdown([result], MACHINE)


def test_a_contestant_that_fails_does_not_end_the_run() -> None:
    result = run(benchmark(ours=turns(1, 2), aiocoap=turns(1)), 2)
    assert "StopIteration" in result.failed["aiocoap"]
    assert result.figures("ours") == [1, 2]


def two_measures() -> Result:
    described = Benchmark(
        "two",
        "Two measures",
        [RATE, TIME],
        {"ours": lambda: {"rate": 1200.0, "time": 20.0}, "aiocoap": lambda: {"rate": 100.0, "time": 210.0}},
        "aiocoap",
        goals=[Goal("times aiocoap", "ours", "aiocoap", due=10, moonshot=16), Goal("time", "ours", measure="time", due=20)],
    )  # fmt: skip
    return run(described, 2)


def test_the_markdown_has_goals_and_contestants() -> None:
    lines = tables.markdown([two_measures()], MACHINE).splitlines()
    assert "| times aiocoap | 12.0 (12.0 to 12.0) | 10.0 | 16.0 |  | due |" in lines
    assert "| time, µs | 20.0 (20.0 to 20.0) | 20.0 |  |  | due |" in lines
    assert "|  | rate, 1/s | times aiocoap | time, µs | times aiocoap |" in lines
    assert "| ours | 1,200 (1,200 to 1,200) | 12.0 | 20.0 (20.0 to 20.0) | 10.5 |" in lines


def test_the_json_has_every_round() -> None:
    read = json.loads(json.dumps(tables.as_json([two_measures()], MACHINE)))
    assert read["machine"]["cores"] == 2
    [described] = read["benchmarks"]
    assert described["contestants"]["ours"]["rate"]["rounds"] == [1200, 1200]
    assert described["goals"][0]["median"] == 12


@pytest.mark.parametrize(("factor", "is_worse"), [(0.85, True), (0.95, False), (2, False)])
def test_a_ratio_that_is_worse_by_more_than_a_tenth_is_named(factor: float, is_worse: bool) -> None:
    goals = [Goal("times aiocoap", "ours", "aiocoap"), Goal("rate", "ours")]

    def measured(rate: float) -> Result:
        return run(attrs.evolve(benchmark(ours=turns(rate), aiocoap=turns(1)), goals=goals), 1)

    stored = json.loads(json.dumps(tables.as_json([measured(10)], MACHINE)))
    lines = [f"times aiocoap: {10 * factor:.2f}, but it was 10.0"] if is_worse else []
    assert tables.regressions([measured(10 * factor)], stored) == lines


def test_the_command_writes_what_it_has_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "chosen", lambda names, is_full: [benchmark(ours=lambda: 1, aiocoap=unavailable)])
    written, table = tmp_path / "a.json", tmp_path / "a.md"
    assert command.main(["try", "--json", str(written), "--markdown", str(table)]) == 0
    assert json.loads(written.read_text())["benchmarks"][0]["name"] == "try"
    assert table.read_text() == capsys.readouterr().out


def test_the_command_fails_when_a_contestant_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "chosen", lambda names, is_full: [benchmark(ours=turns())])
    assert command.main([]) == 1


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["nothing-like-it"])
    assert "nothing-like-it" in capsys.readouterr().err


@pytest.mark.parametrize("is_full", [False, True], ids=["quick", "full"])
def test_every_goal_and_reference_names_something(is_full: bool) -> None:
    described = command.chosen([], is_full)
    assert len({each.name for each in described}) == len(described)
    for each in described:
        result = Result(each)
        assert each.reference is None or each.reference in each.contestants
        assert each.limit is None or each.limit in each.contestants
        for goal in each.goals:
            assert goal.contestant in each.contestants
            assert goal.against is None or goal.against in each.contestants
            assert not isinstance(goal.limit, str) or goal.limit in each.contestants
            assert result.measure(goal.measure) in each.measures


# The load generator.

Answer = Callable[[bytes], list[bytes]]
Seen = list[tuple[int, bytes]]


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[int, Seen]]:
    """Answer datagrams in a thread; give the port, and what has come, each with the port of its sender."""
    seen: Seen = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                data, source = sock.recvfrom(2048)
                if not data:
                    return
                seen.append((source[1], data))
                for reply in answer(data):
                    sock.sendto(reply, source)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield sock.getsockname()[1], seen
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
                ending.sendto(b"", sock.getsockname())
            thread.join()


BODY = b"\xffhello world"


def piggybacked(data: bytes) -> list[bytes]:
    return [b"\x64\x45" + data[2:8] + BODY]


@needs_generator
def test_every_request_is_answered_and_counted() -> None:
    with answering(piggybacked) as (port, seen):
        load = generate(port, host="127.0.0.1", outstanding=16, requests=200)
    assert (load.requests, load.bad, load.retries, load.lost, load.unanswered) == (200, 0, 0, 0, 0)
    assert len(seen) == 200
    assert all(data[:2] == b"\x44\x01" and data[8:] == b"\xb1t" for _, data in seen)
    assert len({data[4:8] for _, data in seen}) == 200
    assert load.require_good() is load


@needs_generator
def test_no_message_id_comes_twice_from_one_port() -> None:
    with answering(piggybacked) as (port, seen):
        generate(port, host="127.0.0.1", outstanding=8, sockets=2, requests=500, per_port=50)
    assert len({(source, data[2:4]) for source, data in seen}) == 500
    assert max(Counter(source for source, _ in seen).values()) == 50


# A wrong answer ends the request if its token is right; otherwise the right one follows.
WRONG: dict[str, Answer] = {
    "not CoAP": lambda data: [b"\xa4\x45" + data[2:8] + BODY, *piggybacked(data)],
    "code 4.04": lambda data: [b"\x64\x84" + data[2:8]],
    "message ID": lambda data: [b"\x64\x45" + bytes([data[2] ^ 1]) + data[3:8] + BODY],
    "a token of nothing that waits": lambda data: [
        b"\x64\x45" + data[2:4] + bytes([data[4] ^ 1]) + data[5:8] + BODY,
        *piggybacked(data),
    ],
    "the token has 3 octets": lambda data: [b"\x63\x45" + data[2:7] + BODY, *piggybacked(data)],
    "the payload": lambda data: [b"\x64\x45" + data[2:8] + BODY + b"!"],
    "a reset": lambda data: [b"\x70\x00" + data[2:4], *piggybacked(data)],
}


@needs_generator
@pytest.mark.parametrize("problem", WRONG)
def test_a_wrong_answer_is_counted(problem: str) -> None:
    with answering(WRONG[problem]) as (port, _):
        load = generate(port, host="127.0.0.1", requests=1)
    assert load.bad == 1
    assert load.problem.startswith(problem)
    with pytest.raises(RuntimeError, match="1 bad answers"):
        load.require_good()


@needs_generator
def test_options_of_an_answer_are_passed_over() -> None:
    options = b"\x48etag1234" + b"\x80" + b"\xdd\x00\x00" + b"x" * 13  # ETag, Content-Format, and one with long forms.
    with answering(lambda data: [b"\x64\x45" + data[2:8] + options + BODY]) as (port, _):
        load = generate(port, host="127.0.0.1", requests=3)
    assert (load.requests, load.bad) == (3, 0)


@needs_generator
def test_a_separate_response_is_waited_for_and_acknowledged() -> None:
    def answer(data: bytes) -> list[bytes]:
        if data[:2] == b"\x60\x00":
            return []
        return [b"\x60\x00" + data[2:4], b"\x44\x45\x70" + data[3:8] + BODY]

    with answering(answer) as (port, seen):
        load = generate(port, host="127.0.0.1", requests=20)
    assert (load.requests, load.separate, load.bad, load.strays) == (20, 20, 0, 0)
    acknowledged = [data for _, data in seen if data[:2] == b"\x60\x00"]
    assert acknowledged == [b"\x60\x00\x70" + data[3:4] for _, data in seen if data[0] == 0x44]


@needs_generator
def test_a_non_is_answered_by_a_non() -> None:
    with answering(lambda data: [b"\x54\x45\x70" + data[3:8] + BODY]) as (port, seen):
        load = generate(port, host="127.0.0.1", requests=20, type="NON")
    assert (load.requests, load.separate, load.bad) == (20, 0, 0)
    assert {data[0] for _, data in seen} == {0x54}


@needs_generator
def test_a_lost_request_is_repeated_as_it_was() -> None:
    lost: list[bytes] = []

    def answer(data: bytes) -> list[bytes]:
        if not lost:
            lost.append(data)
            return []
        return piggybacked(data)

    with answering(answer) as (port, seen):
        load = generate(port, host="127.0.0.1", requests=1, retry_after=0.05)
    assert (load.requests, load.retries, load.bad) == (1, 1, 0)
    assert [data for _, data in seen] == lost * 2


@needs_generator
@needs_ipv6
@pytest.mark.slow
@pytest.mark.parametrize(
    "program", [servers.OURS, servers.OURS_TASK, servers.LIMIT, servers.LIMIT_TASK, servers.ECHO], ids=lambda program: program.name
)  # fmt: skip
@pytest.mark.parametrize("message_type", ["CON", "NON"])
def test_the_servers_answer_the_load_generator(program: servers.Program, message_type: str) -> None:
    with servers.running(program) as server:
        load = generate(server.port, pid=server.pid, outstanding=16, requests=200, type=message_type)
        assert (load.requests, load.bad, load.lost, load.unanswered) == (200, 0, 0, 0)
        assert load.server_cpu > 0


@needs_generator
@needs_ipv6
def test_a_payload_that_is_not_expected_is_counted() -> None:
    with servers.running(servers.OURS) as server:
        assert generate(server.port, requests=10, payload="something else").bad == 10


def test_the_server_of_another_checkout_takes_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A package that cannot be imported stands for the other state: the failure says that it was taken."""
    monkeypatch.setenv(servers.BEFORE_VARIABLE, str(tmp_path))
    (tmp_path / "trio_coap").mkdir()
    (tmp_path / "trio_coap" / "__init__.py").write_text("raise SystemExit('the state before')")
    earlier = servers.before()
    assert earlier is not None
    with pytest.raises(RuntimeError, match="the state before"), servers.running(earlier):
        pass


def test_without_a_compiler_the_generator_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Skipped, match="no C compiler"):
        build.__wrapped__("load")
