"""The program ``intake-laion-fmri``, also available as ``python -m intake_laion_fmri``.

It is separate from the commands, to handle Ctrl-C before they are imported.
"""

from __future__ import annotations

import io
import signal
import sys

from intake_laion_fmri.cli import interrupts


def run() -> None:
    """Run the command given by the arguments, and exit."""
    interrupts.watch()
    from intake_laion_fmri.cli.main import main

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # keys may have characters outside the terminal's encoding
    main(prog_name="intake-laion-fmri")


if __name__ == "__main__":
    __spec__ = None  # with -m, workers would otherwise not import this module
    run()
elif (processes := sys.modules.get("multiprocessing")) and processes.current_process().name != "MainProcess":
    # In a worker process, which imports this module again: the terminal sends Ctrl-C to all processes, and only the
    # program itself handles it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
