"""Transmission parameters and limits: RFC 7252 section 4.8."""

from __future__ import annotations

import math

import attrs
import pytest

from trio_coap.messaging.parameters import Limits, TransmissionParameters
from trio_coap.wire.errors import LocalProtocolError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ack_timeout", 2),
        ("ack_random_factor", 1.5),
        ("max_retransmit", 4),
        ("nstart", 1),
        ("default_leisure", 5),
        ("probing_rate", 1),
        ("max_latency", 100),
    ],
)
def test_the_default_is_that_of_section_4_8(name: str, value: float) -> None:
    assert getattr(TransmissionParameters(), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_transmit_span", 45),
        ("max_transmit_wait", 93),
        ("processing_delay", 2),
        ("max_rtt", 202),
        ("exchange_lifetime", 247),
        ("non_lifetime", 145),
    ],
)
def test_the_derived_value_is_that_of_section_4_8_2(name: str, value: float) -> None:
    assert getattr(TransmissionParameters(), name) == value


def test_derived_values_follow_the_parameters() -> None:
    parameters = TransmissionParameters(ack_timeout=1, ack_random_factor=1, max_retransmit=2, max_latency=10)
    assert parameters.max_transmit_span == 3
    assert parameters.max_transmit_wait == 7
    assert parameters.exchange_lifetime == 3 + 20 + 1
    assert parameters.non_lifetime == 13


def test_the_empty_acknowledgement_goes_well_before_the_first_retransmission() -> None:
    assert TransmissionParameters().empty_ack_delay < TransmissionParameters().ack_timeout / 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"ack_timeout": 0},
        {"ack_timeout": math.inf},
        {"ack_timeout": math.nan},
        {"ack_random_factor": 0.9},
        {"ack_random_factor": math.inf},
        {"max_retransmit": -1},
        {"max_retransmit": 21},
        {"nstart": 0},
        {"default_leisure": -1},
        {"probing_rate": 0},
        {"max_latency": 0},
        {"empty_ack_delay": -0.1},
        {"empty_ack_delay": 2},
    ],
    ids=str,
)
def test_a_value_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(LocalProtocolError, match=next(iter(wrong))):
        TransmissionParameters(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("right", [{"probing_rate": math.inf}, {"max_retransmit": 0}, {"empty_ack_delay": 0}], ids=str)
def test_a_value_at_the_edge_of_its_range_is_taken(right: dict[str, float]) -> None:
    parameters = TransmissionParameters(**right)  # type: ignore[arg-type]
    assert {name: getattr(parameters, name) for name in right} == right


def test_evolving_checks_again() -> None:
    with pytest.raises(LocalProtocolError):
        attrs.evolve(TransmissionParameters(), nstart=0)


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(Limits)])
def test_a_limit_is_at_least_one(name: str) -> None:
    assert getattr(Limits(**{name: 1}), name) == 1
    with pytest.raises(LocalProtocolError, match=name):
        Limits(**{name: 0})
