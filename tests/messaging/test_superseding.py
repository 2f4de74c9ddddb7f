"""A message that a newer one supersedes (RFC 7641 section 4.5.2), and timers, on engines without a loop."""

from __future__ import annotations

import pytest

from tests.messaging.engine import PEER, EngineEndpoint, Fate, make_engine
from trio_coap.messaging.errors import ResetReceived, TransmissionTimeout
from trio_coap.messaging.sent import SentMessageCacheEntry, SentState
from trio_coap.messaging.timer import Timer
from trio_coap.wire.codes import ACK, CON, RST
from trio_coap.wire.message import Message, Response


@pytest.fixture
def engine() -> EngineEndpoint:
    return make_engine()


def send(engine: EngineEndpoint, fate: Fate | None = None) -> SentMessageCacheEntry:
    return engine.send(Response(payload=b"old", token=b"t"), PEER, listener=fate)


def newer(payload: bytes = b"new") -> Response:
    return Response(payload=payload, token=b"t", type=CON)


def test_the_newer_message_goes_out_when_the_old_one_would_be_repeated(engine: EngineEndpoint) -> None:
    entry = send(engine)
    (old,) = engine.take()
    due = entry.time_due
    entry.supersede(newer(b"newer"))
    entry.supersede(newer())
    assert engine.take() == []
    assert due is not None
    engine.run_until(due)
    new = engine.take_one()
    assert (new.payload, new.token) == (b"new", b"t")
    assert new.message_id != old.message_id
    assert entry.state is SentState.COMPLETED
    heir = entry.newest
    assert (heir.transmissions, heir.attempts, heir.message_id) == (1, 2, new.message_id)
    assert heir.time_due == pytest.approx(due + 2 * due)
    assert engine.state_of(PEER).outstanding == 1


def test_the_attempts_and_the_time_to_giving_up_go_on_counting(engine: EngineEndpoint) -> None:
    fate = Fate()
    entry = send(engine, fate)
    for number in range(10):
        entry.newest.supersede(newer(b"%d" % number))
        engine.run_until(engine.now + 9)
    engine.run_until(92.9)
    assert fate.failures == []
    engine.run_until(93)
    assert len(engine.take()) == 5
    (error,) = fate.failures
    assert isinstance(error, TransmissionTimeout)
    assert (error.transmissions, error.elapsed) == (5, 93)
    assert engine.state_of(PEER).outstanding == 0


def test_an_acknowledgement_comes_before_the_newer_message_is_sent(engine: EngineEndpoint) -> None:
    fate = Fate()
    entry = send(engine, fate)
    old = engine.take_one()
    entry.supersede(newer())
    engine.hear(Message(type=ACK, message_id=old.message_id), PEER)
    assert len(fate.acknowledged) == 1
    engine.run_until(100)
    assert engine.take() == []
    assert entry.newest is entry


def test_a_late_acknowledgement_of_the_old_message_does_not_count(engine: EngineEndpoint) -> None:
    fate = Fate()
    entry = send(engine, fate)
    old = engine.take_one()
    entry.supersede(newer())
    engine.run_until(3)
    new = engine.take_one()
    engine.hear(Message(type=ACK, message_id=old.message_id), PEER)
    assert (fate.acknowledged, fate.failures) == ([], [])
    engine.hear(Message(type=ACK, message_id=new.message_id), PEER)
    assert len(fate.acknowledged) == 1
    # Both message IDs stay reserved for their lifetimes.
    assert engine.statistics().sent == 2
    engine.run_until(300)
    assert (engine.statistics().sent, engine.statistics().remotes, len(engine.queue)) == (0, 0, 0)


def test_a_late_reset_of_the_old_message_counts(engine: EngineEndpoint) -> None:
    fate = Fate()
    entry = send(engine, fate)
    old = engine.take_one()
    entry.supersede(newer())
    engine.run_until(3)
    engine.hear(Message(type=RST, message_id=old.message_id), PEER)
    assert [type(error) for error in fate.failures] == [ResetReceived]


def test_what_was_never_sent_is_replaced_on_the_spot(engine: EngineEndpoint) -> None:
    first = engine.send(Response(payload=b"first"), PEER)
    entry = send(engine)
    message_id = entry.message_id
    entry.supersede(newer())
    assert engine.statistics().pending == 1
    engine.take()
    engine.hear(Message(type=ACK, message_id=first.message_id), PEER)
    new = engine.take_one()
    assert (new.payload, new.message_id) == (b"new", message_id)
    assert entry.newest is entry


def test_completing_the_newest_entry_stops_it(engine: EngineEndpoint) -> None:
    entry = send(engine)
    entry.supersede(newer())
    engine.run_until(3)
    entry.newest.complete(engine.now)
    engine.take()
    engine.run_until(200)
    assert engine.take() == []
    assert engine.state_of(PEER).outstanding == 0


def test_without_a_free_message_id_the_old_message_is_repeated(
    engine: EngineEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = send(engine)
    old = engine.take_one()
    entry.supersede(newer())
    monkeypatch.setattr("trio_coap.messaging.remote.MESSAGE_IDS", 1)
    engine.run_until(3)
    assert engine.take_one() == old
    monkeypatch.undo()
    engine.run_until(9)
    assert engine.take_one().payload == b"new"


def test_a_timer_calls_once_each_time_it_is_started(engine: EngineEndpoint) -> None:
    called: list[float] = []
    timer = Timer(engine.queue, called.append)
    timer.start(5)
    timer.start(3)
    engine.run_until(10)
    assert called == [3]
    timer.start(12)
    timer.start(15)
    engine.run_until(20)
    assert called == [3, 15]
    timer.start(25)
    timer.stop()
    timer.stop()
    engine.run_until(30)
    assert called == [3, 15]
    assert len(engine.queue) == 0


def test_closing_stops_timers(engine: EngineEndpoint) -> None:
    timer = Timer(engine.queue, lambda now: pytest.fail("called"))
    timer.start(5)
    engine.abandon(1)
    engine.run_until(10)
    timer.stop()
