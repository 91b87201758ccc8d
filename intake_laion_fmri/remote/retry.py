"""Network patience: the policy of all requests, and the attempts of one."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

NETWORK_VARIABLE = "LAION_FMRI_NETWORK"
"""Environment variable with fields of the `NetworkPolicy`: ``attempts=3,total_seconds=20``."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 8.0
"""Between two attempts: a random time, up to the first of these after one failure, up to the second after many."""

_network: NetworkPolicy | None = None


@dataclass(frozen=True)
class NetworkPolicy:
    """Bounds of waiting and retrying.

    One request is a page of a listing, a small file, or a block of a large one. Between two attempts lies a random
    time that grows with their number.
    """

    attempts: int = 5
    """How often a request is made before it is given up."""
    connect_seconds: float = 5.0
    """Longest wait for a connection."""
    read_seconds: float = 10.0
    """Longest silence in the middle of an answer, and before it."""
    total_seconds: float = 45.0
    """From the first attempt of a request on: when it is over, there is no other attempt."""
    slowest: float = 50e3
    """Bytes per second: what takes longer than `total_seconds` and its size at this rate is given up."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            whole = field.name == "attempts"
            fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
            if not (fits and 0 < value < math.inf):
                expected = "an integer of at least 1" if whole else "a number above 0"
                raise ValueError(f"The network policy's {field.name} must be {expected}, found {value!r}.")


def set_network(
    *,
    attempts: int | None = None,
    connect_seconds: float | None = None,
    read_seconds: float | None = None,
    total_seconds: float | None = None,
    slowest: float | None = None,
) -> NetworkPolicy:
    """Set this process's network policy for all later openings.

    What was opened before, and pickled to workers, keeps the policy that it was opened with.

    Parameters
    ----------
    attempts, connect_seconds, read_seconds, total_seconds, slowest : number, optional
        See `NetworkPolicy`; what is not given is as in the environment variable ``LAION_FMRI_NETWORK``, or else the
        default. So ``set_network()`` undoes what was set before.

    Returns
    -------
    NetworkPolicy

    Raises
    ------
    ValueError
        If a number is not above 0.
    """
    global _network
    given = {
        "attempts": attempts,
        "connect_seconds": connect_seconds,
        "read_seconds": read_seconds,
        "total_seconds": total_seconds,
        "slowest": slowest,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    _network = dataclasses.replace(_policy_of_environment(), **chosen) if chosen else None  # type: ignore[arg-type]
    return network_policy()


def network_policy() -> NetworkPolicy:
    """Return the current network policy.

    It is the one of `set_network`, else of the environment variable ``LAION_FMRI_NETWORK``.
    """
    return _network or _policy_of_environment()


def _policy_of_environment() -> NetworkPolicy:
    text = os.environ.get(NETWORK_VARIABLE, "")
    names = [field.name for field in dataclasses.fields(NetworkPolicy)]
    chosen: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        try:
            if name.strip() not in names:
                raise ValueError(name)
            chosen[name.strip()] = int(value) if name.strip() == "attempts" else float(value)
        except ValueError as error:
            raise ValueError(
                f"{NETWORK_VARIABLE}={text!r}: expected settings such as 'attempts=3,total_seconds=20', among "
                f"{', '.join(names)}; found {part!r}."
            ) from error
    return NetworkPolicy(**chosen)  # type: ignore[arg-type]


class Attempts:
    """Attempts of a request for `size` bytes: number and deadline."""

    def __init__(self, policy: NetworkPolicy, size: int = 0) -> None:
        self._policy, self._size = policy, size
        self.count = 1
        """Attempts so far, the one under way included."""
        self._start = self._since = time.monotonic()
        self._failures = 0

    @property
    def seconds(self) -> float:
        """Time since the first attempt."""
        return time.monotonic() - self._start

    @property
    def seconds_left(self) -> float:
        """Time allowed for the present attempt.

        A server that sends nothing gets less time than one that sends bytes.
        """
        left = self._policy.total_seconds - (time.monotonic() - self._since)
        silent = self._policy.connect_seconds + self._policy.read_seconds
        return max(min(left, silent), 0.05) + self._size / self._policy.slowest

    def again(self, wait: Callable[[float], object] = time.sleep) -> bool:
        """Wait for the next attempt; False if there is none.

        `wait` is called with the seconds; pass a function that can be woken up to allow cancellation.
        """
        self._failures += 1
        pause = random.uniform(0, min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (self._failures - 1)))
        left = self._policy.total_seconds - (time.monotonic() - self._since + pause)
        # With little time left, waiting for a silent server would exceed it.
        too_late = left < min(self._policy.read_seconds, self._policy.total_seconds) / 2
        if self._failures >= self._policy.attempts or too_late:
            return False
        wait(pause)
        self.count += 1
        return True

    def progressed(self) -> None:
        """Restart the bounds after bytes were received and kept."""
        self._failures, self._since = 0, time.monotonic()
