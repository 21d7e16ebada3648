"""Weights from load reports (ORCA)."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport

from backendpool.client._policies.load_report import LoadWeights, weight_of
from backendpool.proto.orca.orca_pb2 import LoadReport

ANY = st.floats()
POSITIVE = st.floats(0.001, 1e6)


def report(qps: float = 100.0, cpu: float = 0.5, eps: float = 0.0, application: float = 0.0) -> bytes:
    message = OrcaLoadReport(
        rps_fractional=qps, cpu_utilization=cpu, eps=eps, application_utilization=application, mem_utilization=0.9
    )
    message.request_cost["db"] = 3.0
    message.named_metrics["queue"] = 7.0
    encoded: bytes = message.SerializeToString()
    return encoded


def test_fields_are_those_of_the_real_message() -> None:
    """Names, numbers and types of the fields equal those of the real message."""
    real = OrcaLoadReport.DESCRIPTOR.fields_by_name
    for ours in LoadReport.DESCRIPTOR.fields:
        theirs = real[ours.name]
        assert (ours.number, ours.type, ours.is_repeated) == (theirs.number, theirs.type, theirs.is_repeated)


@given(ANY, ANY, ANY, ANY)
def test_reads_what_a_server_writes(qps: float, cpu: float, eps: float, application: float) -> None:
    """A report with additional fields is read."""
    read = LoadReport.FromString(report(qps, cpu, eps, application))
    found = (read.rps_fractional, read.cpu_utilization, read.eps, read.application_utilization)
    assert found == pytest.approx((qps, cpu, eps, application), rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    ("trailer", "penalty", "weight"),
    [
        (report(qps=100, cpu=0.5), 1.0, 200.0),
        (report(qps=100, cpu=0.5, application=0.25), 1.0, 400.0),
        (report(qps=100, cpu=0.5, eps=50), 1.0, 100.0),
        (report(qps=100, cpu=0.5, eps=50), 3.0, 50.0),
        (report(qps=100, cpu=0.5, eps=50), 0.0, 200.0),
        (report(qps=100, cpu=0.0), 1.0, 0.0),
        (report(qps=0, cpu=0.5), 1.0, 0.0),
        (b"", 1.0, 0.0),
        (b"\xff\xff", 1.0, 0.0),
    ],
)
def test_weight_is_that_of_a58(trailer: bytes, penalty: float, weight: float) -> None:
    """The weight is qps / (utilization + eps/qps * penalty), with application utilization before CPU utilization (gRFC
    A58).
    """
    assert weight_of(trailer, penalty) == pytest.approx(weight)


@example(qps=1.0, cpu=1.0, eps=-1.0, application=0.0, penalty=1.0)
@given(ANY, ANY, ANY, ANY, st.floats(0, 100))
def test_no_report_breaks_a_client(qps: float, cpu: float, eps: float, application: float, penalty: float) -> None:
    """Any report gives a finite weight."""
    weight = weight_of(report(qps, cpu, eps, application), penalty)
    assert math.isfinite(weight)
    assert weight >= 0


@given(POSITIVE, POSITIVE, POSITIVE, POSITIVE)
def test_more_load_and_more_errors_weigh_less(qps: float, cpu: float, eps: float, more: float) -> None:
    """At equal qps, higher load or more errors never increase the weight."""
    weight = weight_of(report(qps, cpu, eps), 1.0)
    assert weight_of(report(qps, cpu + more, eps), 1.0) <= weight
    assert weight_of(report(qps, cpu, eps + more), 1.0) <= weight


def test_counts_after_the_blackout_until_it_expires() -> None:
    """A weight counts from 10 s after the first report until 180 s after the last."""
    weights: LoadWeights[str] = LoadWeights()
    weights.report("a", report(), 100.0)
    assert weights.weight("a", 109.9) == 0.0
    weights.report("a", report(qps=200.0), 109.0)
    assert weights.weight("a", 110.0) == 400.0
    assert weights.weight("a", 288.9) == 400.0
    assert weights.weight("a", 289.0) == 0.0


def test_there_is_a_blackout_again_after_it_expired() -> None:
    """Reports after an expired weight start a new blackout period."""
    weights: LoadWeights[str] = LoadWeights()
    weights.report("a", report(), 0.0)
    weights.report("a", report(), 180.0)
    assert weights.weight("a", 189.9) == 0.0
    assert weights.weight("a", 190.0) == 200.0


def test_there_is_a_blackout_again_after_it_was_forgotten() -> None:
    """A reconnected backend starts a new blackout period."""
    weights: LoadWeights[str] = LoadWeights()
    weights.report("a", report(), 0.0)
    weights.forget("a")
    weights.forget("never heard of")
    weights.report("a", report(), 20.0)
    assert weights.weight("a", 20.0) == 0.0
    assert weights.weight("a", 30.0) == 200.0


def test_a_report_that_says_nothing_changes_nothing() -> None:
    """An empty report changes neither the weight nor its age."""
    weights: LoadWeights[str] = LoadWeights(blackout=0.0)
    weights.report("a", report(), 0.0)
    weights.report("a", report(cpu=0.0), 100.0)
    assert weights.weight("a", 179.9) == 200.0
    assert weights.weight("a", 180.0) == 0.0
    assert weights.weight("b", 0.0) == 0.0
