"""The files of a folder."""

import csv
from pathlib import Path


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def subjects(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "derivatives/glmsingle-tedana").iterdir())


def sessions(root: Path, subject: str) -> list[str]:
    found = (root / "derivatives/glmsingle-tedana" / subject).glob("ses-*")
    return sorted(path.name for path in found if path.name < "ses-31")


def glm(root: Path, subject: str, rest: str, session: str | None = None) -> Path:
    folder = root / "derivatives/glmsingle-tedana" / subject
    if session is None:
        return folder / f"{subject}_task-images_{rest}"
    return folder / session / "func" / f"{subject}_{session}_task-images_{rest}"


def trials(root: Path, subject: str, session: str) -> list[dict[str, str]]:
    path = glm(root, subject, "desc-SingletrialBetas_trials.tsv", session)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def all_labels(root: Path, subject: str) -> list[str]:
    return [row["label"] for session in sessions(root, subject) for row in trials(root, subject, session)]
