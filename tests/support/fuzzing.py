"""Examples that are changed at random, with bounds on what they take."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from intake_laion_fmri.errors import DataIntegrityError

EXAMPLES = int(os.environ.get("LAION_FMRI_FUZZ_EXAMPLES", "60"))
EXAMPLE_SECONDS = 10
BOUND_BYTES = 256 * 1024 * 1024

fuzzed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
NAME = "s3://laion-fmri/some/file"


class Hang(BaseException):
    """An example takes too long; no `except` of the code under test must catch this."""


@contextmanager
def refusals(
    allowed: type[Exception] | tuple[type[Exception], ...] = DataIntegrityError,
    *,
    name: str = NAME,
    longest: int = 3000,
) -> Iterator[None]:
    """Let the contract's errors pass that name the file and are no longer than a page; end what hangs."""

    def hang(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, EXAMPLE_SECONDS)
    try:
        yield
    except allowed as error:
        if name not in str(error) or len(str(error)) > longest:
            raise AssertionError(
                f"an error that does not name the file, or is too long: {str(error)[:3000]}"
            ) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@st.composite
def damaged(draw: st.DrawFn, content: bytes, *, pieces: tuple[bytes, ...] = ()) -> bytes:
    """Change a file in a few places: other bytes, pieces of it elsewhere, or an end too early."""
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.sampled_from([0, 0, 1, 1, 2, 8, 40, 10_000])))
        other = draw(st.integers(0, len(content)))
        insert = draw(
            st.binary(max_size=6)
            | st.sampled_from([b"", *pieces])
            | st.just(content[other : other + 30])
            | st.integers(0, 300).map(lambda n: bytes([n % 256]) * n)
        )
        content = content[:start] + insert + content[stop:]
    return content
