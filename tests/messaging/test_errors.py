"""Errors as values: their texts, copies and pickles."""

from __future__ import annotations

import copy
import errno
import pickle

import pytest

from tests.messaging.engine import PEER, Server, get, make_engine
from trio_coap.messaging.errors import (
    DeliveryError,
    NetworkError,
    ReplyMessageError,
    ResetReceived,
    TransmissionTimeout,
)

COPIES = [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]


@pytest.mark.parametrize("make_copy", COPIES)
@pytest.mark.parametrize(
    "error",
    [
        DeliveryError("lost", PEER, 2, 1.5),
        TransmissionTimeout("no acknowledgement", PEER, 5, 93.0),
        ResetReceived("reset by the peer", PEER, 1, 0.25),
        NetworkError(PEER, 1, 2.0, OSError(errno.EHOSTUNREACH, "No route to host")),
    ],
)
def test_a_copy_of_a_delivery_error_is_complete(error: DeliveryError, make_copy) -> None:
    copied = make_copy(error)
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert copied.destination_endpoint is PEER
    assert (copied.reason, copied.transmissions, copied.elapsed) == (error.reason, error.transmissions, error.elapsed)


def test_a_network_error_takes_its_cause_along() -> None:
    error = NetworkError(PEER, 1, 2.0, OSError(errno.EHOSTUNREACH, "No route to host"))
    copied = pickle.loads(pickle.dumps(error))
    assert (copied.os_error.errno, copied.os_error.strerror) == (errno.EHOSTUNREACH, "No route to host")


def test_the_entry_of_a_reply_error_stays_in_its_endpoint() -> None:
    engine, server = make_engine(), Server()
    engine.request_listener = server
    engine.hear(get(message_id=1), PEER)
    (entry,) = server.entries
    error = ReplyMessageError(ReplyMessageError.ID_MISMATCH, entry, entry.message)
    assert copy.copy(error).args == error.args
    pickled = pickle.loads(pickle.dumps(error))
    assert pickled.args == (error.diagnostic, None, entry.message)
    assert pickled.diagnostic in str(pickled)


def test_an_endpoint_is_copied_and_pickled_by_its_address() -> None:
    assert copy.copy(PEER) is copy.deepcopy(PEER) is pickle.loads(pickle.dumps(PEER)) is PEER
