"""Fuzz a reader with atheris: ``python fuzz/run.py TARGET [options of libFuzzer]``; see README.md beside this."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["intake_laion_fmri"]):
    from targets import TARGETS, seeds

BOUNDS = ("-timeout=10", "-rss_limit_mb=1024", "-max_len=4096")
"""What libFuzzer reports as a finding, too: an input of more than ten seconds, more than a gigabyte in the process."""


def main() -> None:
    """Run one target."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"expected a target: {', '.join(TARGETS)}")
    target = sys.argv[1]
    logging.getLogger("nibabel.global").disabled = True  # it tells of every header that it would mend
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds(target)):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], corpus, *BOUNDS, *sys.argv[2:]], TARGETS[target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
