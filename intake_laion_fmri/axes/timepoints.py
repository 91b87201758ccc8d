"""The time axis of functional runs: volumes of all runs in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intake_laion_fmri.formats.grid import Coordinates

TIME = "time"
"""Dimension and index: seconds from the beginning of the volume's own run."""

ECHO = "echo"
"""Dimension and index of raw time series: the number of the echo, from 1."""


def time_coordinates(runs: Sequence[tuple[str, int, int]], tr: float) -> Coordinates:
    """Return the coordinates along ``time``.

    Parameters
    ----------
    runs : sequence of (str, int, int)
        Session, number and volume count of each run, in the order of the result.
    tr : float
        Repetition time in seconds.

    Returns
    -------
    dict
        ``time`` (float64, s), ``session``, ``run`` and ``volume`` (int64) along it, and ``repetition_time``, a scalar.
    """
    lengths = [n_volumes for _, _, n_volumes in runs]
    volumes = np.concatenate([np.arange(n, dtype=np.int64) for n in lengths])
    sessions = np.repeat(np.array([session for session, _, _ in runs], dtype=object), lengths)
    numbers = np.repeat(np.array([run for _, run, _ in runs], dtype=np.int64), lengths)
    return {
        TIME: ((TIME,), np.round(volumes * tr, 6), {"long_name": "time from the beginning of the run", "units": "s"}),
        "session": ((TIME,), sessions, {"long_name": "session"}),
        "run": ((TIME,), numbers, {"long_name": "run within the session"}),
        "volume": ((TIME,), volumes, {"long_name": "volume of the run, from 0"}),
        "repetition_time": ((), np.array(tr), {"long_name": "time from volume to volume", "units": "s"}),
    }
