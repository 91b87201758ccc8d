"""What is set once for a process: the patience with servers."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from intake_laion_fmri.config import NETWORK_VARIABLE, NetworkPolicy, network_policy, set_network
from intake_laion_fmri.remote import retry
from intake_laion_fmri.remote.access import open_bucket
from intake_laion_fmri.remote.retry import Attempts

HASTY = NetworkPolicy(attempts=3, total_seconds=30)


def test_the_defaults_are_those_that_the_readme_tells() -> None:
    assert network_policy() == NetworkPolicy(5, 5.0, 10.0, 45.0, 50e3)


def test_what_is_set_is_used_by_what_is_opened_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument goes before the environment; a root keeps its policy on its way to workers."""
    before = open_bucket("s3://x")
    monkeypatch.setenv(NETWORK_VARIABLE, "attempts=2, read_seconds=1.5")
    assert network_policy() == NetworkPolicy(attempts=2, read_seconds=1.5)
    assert set_network(attempts=7) == network_policy() == NetworkPolicy(attempts=7, read_seconds=1.5)
    opened = open_bucket("s3://x")
    set_network()
    assert network_policy().attempts == 2
    assert pickle.loads(pickle.dumps(opened)).network.attempts == 7
    assert before.network == NetworkPolicy()
    assert opened == before, "the same data, however patiently they are read"


@pytest.mark.parametrize("text", ["attempts", "attempts=many", "patience=3", "attempts=0", "read_seconds=nan"])
def test_an_environment_that_makes_no_sense(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names what was found: whoever set it is far away."""
    monkeypatch.setenv(NETWORK_VARIABLE, text)
    with pytest.raises(ValueError, match=f"{NETWORK_VARIABLE}=|network policy's"):
        open_bucket("s3://x")


@pytest.mark.parametrize(
    "given", [{"attempts": 0}, {"attempts": 1.5}, {"attempts": True}, {"read_seconds": -1}, {"slowest": float("inf")}]
)
def test_a_policy_that_makes_no_sense(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"network policy's {next(iter(given))} must be"):
        set_network(**given)
    assert network_policy() == NetworkPolicy()


def test_attempts_are_counted() -> None:
    """So many, with waits between them, and no more."""
    attempts = Attempts(HASTY)
    assert [attempts.again() for _ in range(3)] == [True, True, False]
    assert attempts.count == 3


def test_progress_begins_anew() -> None:
    """A transfer that goes on is not given up for failures long ago."""
    attempts = Attempts(HASTY)
    assert attempts.again()
    assert attempts.again()
    attempts.progressed()
    assert attempts.again()
    assert attempts.again()
    assert not attempts.again()
    assert attempts.count == 5


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is begun when the time is over; what is under way may take its size at the slowest rate."""
    waited: list[float] = []
    monkeypatch.setattr(retry, "time", SimpleNamespace(monotonic=lambda: sum(waited)))
    attempts = Attempts(NetworkPolicy(attempts=100, total_seconds=0.3, slowest=1000.0), size=2000)
    assert attempts.seconds_left == pytest.approx(0.3 + 2)
    while attempts.again(waited.append):
        pass
    assert attempts.seconds <= 0.3
    assert attempts.count < 100
