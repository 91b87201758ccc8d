"""The program ``intake-laion-fmri``, also started as ``python -m intake_laion_fmri``.

It is no part of the commands, so that Ctrl-C is in good hands before these are imported.
"""

from __future__ import annotations

import io
import signal
import sys

from intake_laion_fmri.cli import interrupts


def run() -> None:
    """Run the command that the arguments name; does not return."""
    interrupts.watch()
    from intake_laion_fmri.cli.main import main

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a key may hold what the terminal's encoding does not
    main(prog_name="intake-laion-fmri")


if __name__ == "__main__":
    __spec__ = None  # started with -m: else workers would not come past here
    run()
elif (processes := sys.modules.get("multiprocessing")) and processes.current_process().name != "MainProcess":
    # In a worker of the program, which imports it again: a terminal sends Ctrl-C to all of them, and it is the
    # program that answers.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
