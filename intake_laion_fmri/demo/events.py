"""Events of every run of images, with responses.

How a response is made
    Every 15th trial of a session has no response. For the k-th trial otherwise, the reaction time is
    ``0.5 + 0.01 * (k % 97)`` s, and the response is correct unless k is a multiple of 7: 1 for a new image, 2 for an
    old one. The second row of a run is blank. Trials last 3 s, starting at 12 s; volumes are acquired every 1.9 s.
"""

from collections import Counter
from pathlib import Path

from intake_laion_fmri.demo.files import write
from intake_laion_fmri.demo.truth import SubjectTruth

_COLUMNS = (
    *("onset", "duration", "trial_number", "trial_type", "response", "response_correct", "response_changed"),
    *("response_time", "stim_number", "stim_name", "stim_occurrence", "stim_occurrence_run"),
    *("stim_occurrence_session", "stim_duration", "isi_onset", "isi_duration", "pulse_number", "pulse_onset"),
)
_NOTHING = "n/a"
_TR = 1.9


def write_events(root: Path, truth: SubjectTruth) -> None:
    """Write the events of a subject's public sessions as raw BIDS."""
    seen: Counter[str] = Counter()
    for session, labels in truth.labels.items():
        in_session: Counter[str] = Counter()
        runs: dict[int, list[tuple[int, str]]] = {}
        for index, label in enumerate(labels):  # the runs of the trial tables
            runs.setdefault(1 + index * 12 // len(labels), []).append((index, label))
        for run, trials in runs.items():
            rows = _run(trials, seen, in_session)
            name = f"{truth.subject}_{session}_task-images_run-{run:02d}_events.tsv"
            text = "\n".join("\t".join(row) for row in [_COLUMNS, *rows]) + "\n"
            write(root / truth.subject / session / "func" / name, text)


def _run(trials: list[tuple[int, str]], seen: Counter[str], in_session: Counter[str]) -> list[tuple[str, ...]]:
    in_run: Counter[str] = Counter()
    shown = [(index, label, number) for number, (index, label) in enumerate(trials, start=1)]
    rows: list[tuple[int, str, int] | None] = [*shown[:1], None, *shown[1:]]
    lines = []
    for position, row in enumerate(rows):
        onset = 12.049 + 3 * position
        first = int(onset / _TR) + 1
        pulses = [first, first + 1]
        times = (f"{onset:.3f}", "2.9999", str(position + 1))
        timing = ("2.5", f"{onset + 2.5:.3f}", "0.5", str(pulses), str([round(number * _TR, 1) for number in pulses]))
        if row is None:
            lines.append((*times, "blank", *[_NOTHING] * 5, "blank", *[_NOTHING] * 3, *timing))
            continue
        index, label, number = row
        kind = "old" if seen[label] else "new"
        for counter in (seen, in_session, in_run):
            counter[label] += 1
        answer = ("1" if (kind == "new") is (index % 7 > 0) else "2", str(float(index % 7 > 0)), "0.0")
        answers = (_NOTHING,) * 4 if index % 15 == 14 else (*answer, f"{0.5 + 0.01 * (index % 97):.4f}")
        occurrences = (str(counter[label]) for counter in (seen, in_run, in_session))
        lines.append((*times, kind, *answers, str(number), label, *occurrences, *timing))
    return lines
