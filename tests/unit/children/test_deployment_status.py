"""The state of a Deployment, and why replicas are unavailable."""

from __future__ import annotations

from typing import Any

import pytest

from backendpool.children.deployment_status import explain_unavailable, is_rolled_out
from tests.fakes.objects import deployment, pod

SAID = "2026-11-25 INFO starting\nbackendpool lookaside: invalid tls.crt and tls.key (x): expected a chain"


ENDED = pod(
    "lookaside-1",
    state={"waiting": {"reason": "CrashLoopBackOff"}},
    last_state={"terminated": {"exitCode": 2, "message": SAID}},
)
UNPULLED = pod("lookaside-2", state={"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling x"}})
UNMADE = pod("lookaside-3", state={"waiting": {"reason": "ContainerCreating"}})
UNSCHEDULED = pod(
    "lookaside-4", conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]
)
RUNNING = pod("lookaside-5", state={"running": {}})


@pytest.mark.parametrize(
    ("pods", "sentence"),
    [
        (
            [RUNNING, UNSCHEDULED, UNPULLED, ENDED],
            "pod lookaside-1 ended with 2: backendpool lookaside: invalid tls.crt and tls.key (x): expected a chain",
        ),
        ([UNSCHEDULED, UNPULLED], "pod lookaside-2 does not start (ImagePullBackOff): Back-off pulling x"),
        ([UNMADE, UNSCHEDULED], "pod lookaside-4 has no node: 0/3 nodes are available"),
        (
            [UNMADE],
            "pod lookaside-3 waits for its volumes: check that there is a Secret greet-tls with tls.crt and tls.key",
        ),
        ([RUNNING], ""),
        ([], ""),
    ],
)
def test_who_knows_best_is_quoted(pods: list[dict[str, Any]], sentence: str) -> None:
    """The reason is the program's last message, then the kubelet's, then the scheduler's."""
    assert explain_unavailable({}, pods, "greet-tls") == sentence


def test_pod_without_a_secret_is_only_being_made() -> None:
    """A pod in ContainerCreating without a mount that may be missing is no problem."""
    assert explain_unavailable({}, [UNMADE], "") == ""


def test_pods_that_are_refused_are_told_of() -> None:
    """If a quota rejects the pods, the Deployment's condition is quoted."""
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: few"}
    assert (
        explain_unavailable({"status": {"conditions": [failure]}}, [], "")
        == "no pod can be created: exceeded quota: few"
    )


def test_pods_that_go_are_not_asked() -> None:
    """Terminating pods are ignored."""
    going = {**ENDED, "metadata": pod("old", deleted="2026-11-25T00:00:00Z")["metadata"]}
    assert explain_unavailable({}, [going], "") == ""


def test_long_messages_are_cut() -> None:
    """Long messages are cut."""
    long = pod(state={"waiting": {"reason": "ErrImagePull", "message": "x" * 5000}})
    assert len(explain_unavailable({}, [long], "")) < 600


def counts(replicas: int, updated: int, available: int, observed: int = 3) -> dict[str, Any]:
    return deployment(
        replicas=replicas, updatedReplicas=updated, availableReplicas=available, observedGeneration=observed
    )


REFUSED = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}


@pytest.mark.parametrize(
    ("live", "complete"),
    [
        (deployment(), False),
        ({**deployment(), "status": None}, False),
        (counts(2, 2, 1), False),
        (counts(3, 1, 2), False),
        (counts(3, 2, 3), False),
        (counts(2, 2, 2, observed=2), False),
        (counts(2, 2, 2), True),
        (deployment(observedGeneration=3, conditions=[REFUSED]), True),
        (deployment(observedGeneration=2, conditions=[REFUSED]), False),
        (deployment(observedGeneration=3, conditions=[{**REFUSED, "status": "False"}]), False),
    ],
)
def test_rollout_is_complete(live: dict[str, Any], complete: bool) -> None:
    """Completion follows kubectl rollout status; a rollout without pods is complete."""
    assert is_rolled_out(live) is complete
