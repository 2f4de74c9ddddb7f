"""The life of a sent message: RFC 7252 sections 4.2 and 4.3."""

from __future__ import annotations

import errno

import attrs
import pytest

from tests.messaging.engine import GROUP, OTHER, PEER, EngineEndpoint, Fate, content, get, make_engine
from trio_coap.messaging.errors import NetworkError, ResetReceived, TransmissionTimeout
from trio_coap.messaging.parameters import DEFAULT_PARAMETERS, TransmissionParameters
from trio_coap.messaging.sent import SentMessageCacheEntry, SentState
from trio_coap.wire.codes import ACK, CON, NON, RST, Code
from trio_coap.wire.errors import RemoteProtocolError
from trio_coap.wire.message import Message, Response

UNREACHABLE = OSError(errno.EHOSTUNREACH, "No route to host")


def ack(entry: SentMessageCacheEntry) -> Message:
    return Message(type=ACK, message_id=entry.message_id)


def reset(entry: SentMessageCacheEntry) -> Message:
    return Message(type=RST, message_id=entry.message_id)


def sent(
    engine: EngineEndpoint, *, listener: Fate | None = None, parameters: TransmissionParameters | None = None
) -> SentMessageCacheEntry:
    return engine.send(get(), PEER, listener=listener, parameters=parameters)


def transmission_times(engine: EngineEndpoint) -> list[float]:
    return [datagram.at for datagram in engine.outbox]


# Retransmission


def test_the_first_transmission_is_at_once() -> None:
    engine = make_engine()
    engine.now = 7.0
    entry = sent(engine)
    assert transmission_times(engine) == [7]
    assert entry.transmissions == 1
    assert entry.activated_at == entry.activated_clk == 7
    assert entry.state is SentState.UNACKNOWLEDGED


def test_a_con_to_nobody_is_transmitted_five_times_and_not_six() -> None:
    """CoAPy transmitted six times."""
    engine = make_engine()
    entry = sent(engine)
    engine.run_until(1000)
    assert len(engine.outbox) == entry.transmissions == 5
    assert len({datagram.data for datagram in engine.outbox}) == 1


def test_the_interval_doubles_each_time() -> None:
    engine = make_engine()
    sent(engine)
    engine.run_until(1000)
    first, *others = transmission_times(engine)
    assert first == 0
    interval = others[0]
    assert others == pytest.approx([interval, 3 * interval, 7 * interval, 15 * interval])


@pytest.mark.parametrize("seed", range(20))
def test_the_first_interval_is_drawn_between_ack_timeout_and_its_random_factor(seed: int) -> None:
    engine = make_engine(seed=seed)
    entry = sent(engine)
    assert entry.time_due is not None
    assert 2 <= entry.time_due <= 3


def test_the_first_interval_differs_from_message_to_message() -> None:
    engine = make_engine(parameters=TransmissionParameters(nstart=10))
    assert len({sent(engine).time_due for _ in range(10)}) == 10


def test_nothing_goes_out_before_its_time() -> None:
    engine = make_engine()
    entry = sent(engine)
    assert entry.time_due is not None
    engine.process_due(entry.time_due - 1e-9)
    assert len(engine.outbox) == 1
    engine.process_due(entry.time_due)
    assert len(engine.outbox) == 2


def test_failure_comes_max_transmit_wait_after_the_first_transmission() -> None:
    engine, fate = make_engine(), Fate()
    engine.now = 10.0
    entry = sent(engine, listener=fate)
    engine.run_until(1000)
    assert fate.failed_at == [10 + 93]
    (error,) = fate.failures
    assert isinstance(error, TransmissionTimeout)
    assert (error.destination_endpoint, error.transmissions, error.elapsed) == (PEER, 5, 93)
    assert "5 times" in str(error)
    assert entry.transmissions == 5


def test_after_the_last_retransmission_there_is_a_final_wait() -> None:
    engine = make_engine()
    entry = sent(engine)
    states = []
    for at in (29, 92, 93):
        engine.run_until(at)
        states.append(entry.state)
    assert states == [SentState.UNACKNOWLEDGED, SentState.FINAL_WAIT, SentState.COMPLETED]


def test_the_entry_is_gone_after_exchange_lifetime() -> None:
    engine = make_engine()
    entry = sent(engine)
    engine.run_until(246.9)
    assert entry.message_id in engine.state_of(PEER).sent_cache
    engine.run_until(247)
    assert entry.cache is None
    assert engine.statistics().sent == 0
    assert engine.known_remote(PEER) is None


def test_the_entry_of_a_non_is_gone_after_non_lifetime() -> None:
    engine = make_engine()
    entry = engine.send(get(type=NON), PEER)
    assert entry.state is SentState.COMPLETED
    assert entry.expires_at == entry.time_due == 145
    engine.run_until(145)
    assert entry.cache is None
    assert len(engine.outbox) == 1


def test_max_retransmit_0_means_one_transmission() -> None:
    parameters, fate = TransmissionParameters(max_retransmit=0), Fate()
    engine = make_engine()
    sent(engine, parameters=parameters, listener=fate)
    engine.run_until(1000)
    assert len(engine.outbox) == 1
    assert fate.failed_at == [parameters.max_transmit_wait] == [3]


def test_parameters_of_one_message_go_before_those_of_the_endpoint() -> None:
    engine = make_engine()
    parameters = TransmissionParameters(ack_timeout=10, ack_random_factor=1)
    entry = sent(engine, parameters=parameters)
    assert entry.parameters is parameters
    assert entry.time_due == 10
    assert entry.expires_at == parameters.exchange_lifetime


def test_a_message_processed_too_late_is_not_transmitted_more_often() -> None:
    engine, fate = make_engine(), Fate()
    sent(engine, listener=fate)
    engine.now = 5000.0
    engine.run_until(6000)
    assert len(engine.outbox) == 5
    assert len(fate.failures) == 1
    assert engine.statistics().sent == 0


def test_an_entry_may_be_processed_early() -> None:
    engine = make_engine()
    entry = sent(engine)
    entry.process_timeout(0.5)
    assert entry.transmissions == 2
    assert entry.time_due is not None
    assert entry.time_due > 0.5
    assert len(engine.queue) == 1


# ACK and RST


def state_after(transmissions: int) -> tuple[EngineEndpoint, SentMessageCacheEntry, Fate]:
    engine, fate = make_engine(), Fate()
    entry = sent(engine, listener=fate)
    while entry.transmissions < transmissions:
        engine.run_until(engine.queue.earliest())
    engine.take()
    return engine, entry, fate


@pytest.mark.parametrize("transmissions", [1, 2, 3, 4, 5])
def test_an_acknowledgement_counts_after_each_transmission(transmissions: int) -> None:
    engine, entry, fate = state_after(transmissions)
    engine.hear(ack(entry), PEER)
    assert fate.acknowledged == [engine.now]
    assert entry.state is SentState.COMPLETED
    assert entry.reply_message == ack(entry)
    engine.run_until(1000)
    assert not engine.outbox
    assert not fate.failures


@pytest.mark.parametrize("transmissions", [1, 2, 3, 4, 5])
def test_a_reset_counts_after_each_transmission(transmissions: int) -> None:
    engine, entry, fate = state_after(transmissions)
    engine.hear(reset(entry), PEER)
    (error,) = fate.failures
    assert isinstance(error, ResetReceived)
    assert error.transmissions == transmissions
    assert entry.reply_message == reset(entry)
    engine.run_until(1000)
    assert not engine.outbox


def test_an_acknowledgement_that_comes_after_giving_up_is_noted() -> None:
    engine, entry, fate = state_after(5)
    engine.run_until(100)
    assert engine.hear(ack(entry), PEER) is not None
    assert entry.reply_message == ack(entry)
    assert len(fate.failures) == 1
    assert not fate.acknowledged


def test_a_second_acknowledgement_does_not_count() -> None:
    engine, entry, fate = state_after(1)
    engine.hear(ack(entry), PEER)
    assert engine.hear(ack(entry), PEER) is None
    assert len(fate.acknowledged) == 1
    assert sum(engine.statistics().rejected.values()) == 1


def test_an_acknowledgement_from_elsewhere_does_not_count() -> None:
    """CoAPy matched it by its message ID alone."""
    engine, entry, fate = state_after(1)
    engine.send(get(message_id=entry.message_id), OTHER)
    engine.take()
    engine.hear(ack(entry), OTHER)
    assert not fate.acknowledged
    assert entry.is_outstanding
    engine.run_until(1000)
    assert len(engine.outbox) == 4


def test_a_reset_from_elsewhere_does_not_count() -> None:
    engine, entry, fate = state_after(1)
    assert engine.hear(reset(entry), OTHER) is None
    assert not fate.failures
    assert engine.statistics().rejected == {"a Reset for nothing that was sent": 1}


def test_an_acknowledgement_before_the_first_transmission_does_not_count() -> None:
    engine = make_engine()
    sent(engine)
    waiting = sent(engine)
    assert engine.hear(ack(waiting), PEER) is None
    assert waiting.reply_message is None
    assert waiting.state is SentState.PENDING


def test_a_non_is_reset_but_not_acknowledged() -> None:
    engine, fate = make_engine(), Fate()
    entry = engine.send(get(type=NON), PEER, listener=fate)
    assert engine.hear(ack(entry), PEER) is None
    engine.hear(reset(entry), PEER)
    assert not fate.acknowledged
    assert isinstance(fate.failures[0], ResetReceived)


@pytest.mark.parametrize("type", [CON, NON])
def test_what_is_neither_acknowledgement_nor_reset_is_no_reply(type) -> None:
    entry = sent(make_engine())
    with pytest.raises(RemoteProtocolError):
        entry.process_reply(Message(type=type, message_id=entry.message_id), 0.0)


def test_the_message_id_stays_reserved_after_the_acknowledgement() -> None:
    engine, entry, _ = state_after(1)
    engine.hear(ack(entry), PEER)
    assert entry.message_id in engine.state_of(PEER).sent_cache
    assert entry.time_due == entry.expires_at == 247


# Cancelling


def test_completing_stops_retransmitting_at_once() -> None:
    engine, fate = make_engine(), Fate()
    entry = sent(engine, listener=fate)
    entry.complete(1.0)
    engine.run_until(1000)
    assert len(engine.outbox) == 1
    assert not fate.failures
    assert entry.cache is None


def test_completing_frees_the_slot_at_once() -> None:
    engine = make_engine()
    first, second = sent(engine), sent(engine)
    first.complete(1.0)
    assert second.transmissions == 1
    assert engine.state_of(PEER).outstanding == 1


def test_completing_a_message_that_was_never_sent_takes_it_out() -> None:
    engine = make_engine()
    first, second = sent(engine), sent(engine)
    second.complete(1.0)
    assert second.cache is None
    assert second.state is SentState.COMPLETED
    assert list(engine.state_of(PEER).sent_cache) == [first.message_id]
    assert engine.statistics().sent == 1


def test_completing_twice_is_harmless() -> None:
    engine = make_engine()
    entry = sent(engine)
    entry.complete(1.0)
    entry.complete(2.0)
    assert engine.state_of(PEER).outstanding == 0
    engine.run_until(1000)
    entry.complete(1001.0)
    assert engine.statistics().sent == 0


# Errors of the network


def test_a_send_error_fails_the_exchange() -> None:
    engine, fate = make_engine(), Fate()
    engine.send_error = UNREACHABLE
    entry = sent(engine, listener=fate)
    (error,) = fate.failures
    assert isinstance(error, NetworkError)
    assert error.os_error is UNREACHABLE
    assert error.transmissions == 1
    assert "No route to host" in str(error)
    assert not entry.is_outstanding
    assert engine.state_of(PEER).outstanding == 0


def test_a_send_error_without_a_text_of_the_system_is_shown_too() -> None:
    engine, fate = make_engine(), Fate()
    engine.send_error = OSError("gone fishing")
    sent(engine, listener=fate)
    assert "gone fishing" in str(fate.failures[0])


def test_a_send_error_at_a_retransmission_fails_the_exchange() -> None:
    engine, entry, fate = state_after(2)
    engine.send_error = UNREACHABLE
    engine.run_until(20)
    (error,) = fate.failures
    assert error.transmissions == 3
    assert not entry.is_outstanding


def test_a_send_error_of_a_non_fails_it() -> None:
    engine, fate = make_engine(), Fate()
    engine.send_error = UNREACHABLE
    engine.send(get(type=NON), PEER, listener=fate)
    assert isinstance(fate.failures[0], NetworkError)


def test_a_send_error_without_a_listener_is_no_exception() -> None:
    engine = make_engine()
    engine.send_error = UNREACHABLE
    assert not sent(engine).is_outstanding


def test_thousands_of_pending_messages_fail_without_recursion() -> None:
    engine, fate = make_engine(), Fate()
    entries = [sent(engine, listener=fate) for _ in range(5000)]
    engine.send_error = UNREACHABLE
    entries[0].complete(1.0)
    assert len(fate.failures) == 4999
    assert engine.state_of(PEER).pending == 0
    engine.run_until(1000)
    assert engine.statistics().sent == 0


def test_a_failed_message_keeps_its_id_until_it_expires() -> None:
    engine = make_engine()
    engine.send_error = UNREACHABLE
    entry = sent(engine)
    assert entry.time_due == 247
    engine.run_until(247)
    assert entry.cache is None


# What an entry says


def test_a_response_grows_stale_after_max_age() -> None:
    engine = make_engine()
    engine.now = 5.0
    response = Response(Code.CONTENT, type=NON, max_age=30)
    assert engine.send(response, PEER).stale_at == 35


def test_a_response_without_max_age_grows_stale_after_60_seconds() -> None:
    assert make_engine().send(content()(get()), PEER).stale_at == 60


def test_a_request_does_not_grow_stale() -> None:
    assert sent(make_engine()).stale_at is None


def test_an_entry_says_what_the_seed_says() -> None:
    engine = make_engine()
    engine.now = 3.0
    message = get()
    entry = engine.send(message, PEER)
    assert entry.message is message
    assert entry.message_id == message.message_id
    assert entry.destination_endpoint is PEER
    assert entry.cache is engine.state_of(PEER).sent_cache
    assert entry.created_at == entry.created_clk == 3
    assert entry.expires_at == entry.expires_clk == 250
    assert entry.reply_message is None


def test_a_group_message_is_sent_once() -> None:
    engine = make_engine()
    engine.send(get(type=NON), GROUP)
    engine.run_until(10_000)
    assert len(engine.outbox) == 1
    assert engine.known_remote(GROUP) is None


def test_the_octets_are_those_of_the_time_of_sending() -> None:
    engine = make_engine()
    first = sent(engine)
    request = get()
    waiting = engine.send(request, PEER)
    octets = request.encode()
    request.token = bytes(9)  # What became of it later must neither go out nor raise out of a background task.
    first.complete(1.0)
    assert waiting.octets == octets == engine.outbox[-1].data


def test_the_same_seed_gives_the_same_trace() -> None:
    def trace() -> list[tuple[float, bytes]]:
        engine = make_engine(seed=11, parameters=attrs.evolve(DEFAULT_PARAMETERS, nstart=3))
        for _ in range(5):
            sent(engine)
        engine.run_until(500)
        return [(datagram.at, datagram.data) for datagram in engine.outbox]

    assert trace() == trace()
    assert len(trace()) == 25


# When congestion control lets it go


def test_who_waits_for_its_turn_is_told_once() -> None:
    engine = make_engine()
    first, second = sent(engine), engine.send(get(token=b"\x21"), PEER)
    went_at: list[float] = []
    second.when_sent = lambda: went_at.append(engine.now)
    engine.run_until(1)
    assert went_at == []  # NSTART is 1.
    engine.hear(ack(first), PEER)
    assert went_at == [1]
    engine.run_until(100)
    assert second.transmissions == 5
    assert went_at == [1]


def test_who_waits_for_probing_rate_is_told_when_it_has_been_sent() -> None:
    engine = make_engine()
    engine.send(get(type=NON), PEER)
    held = engine.send(get(type=NON, token=b"\x21"), PEER)
    went_at: list[float] = []
    held.when_sent = lambda: went_at.append(engine.now)
    engine.run_until(100)
    assert went_at == transmission_times(engine)[1:]


def test_what_was_withdrawn_or_fails_at_once_has_not_been_sent() -> None:
    engine = make_engine()
    first = sent(engine)
    withdrawn, failing = (engine.send(get(token=token), PEER) for token in (b"\x21", b"\x22"))
    went: list[SentMessageCacheEntry] = []
    for entry in (withdrawn, failing):
        entry.when_sent = lambda entry=entry: went.append(entry)
    withdrawn.complete(0)
    engine.send_error = UNREACHABLE
    engine.hear(ack(first), PEER)
    assert failing.transmissions == 1
    assert went == []
