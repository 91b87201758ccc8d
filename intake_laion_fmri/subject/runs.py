"""A subject's raw runs: events, echoes and reference images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.errors import AccessDeniedError, NotInBucketError, check_option, unknown_value
from intake_laion_fmri.reading.arguments import SessionSelection
from intake_laion_fmri.reading.blocks import SessionBlock
from intake_laion_fmri.reading.functional.bold import Part, open_bold
from intake_laion_fmri.reading.functional.events import open_events
from intake_laion_fmri.reading.functional.raw_files import RunFiles
from intake_laion_fmri.reading.volumes import open_beginning
from intake_laion_fmri.subject.reader import SubjectReader

if TYPE_CHECKING:
    import pandas as pd


class Runs:
    """Accessors of `Subject` for raw runs.

    Volumes are on the scanner's grid: all voxels, in C order.
    """

    _reader: SubjectReader

    def has_raw(self, session: str | int | None = None) -> bool:
        """Return True if there are raw runs of the subject or session."""
        bucket, subject = self._reader.bucket, self._reader.subject
        if session is not None:
            try:
                RunFiles.from_bucket(bucket, subject, layout.RAW, "events", session=session, run=None, task="images")
            except (ValueError, AccessDeniedError, NotInBucketError):
                return False
            return True
        return any(name.startswith("ses-") for name in bucket.folders(layout.RAW.folder(subject)))

    def get_events(self, session: SessionSelection, run: int | str | None = None) -> pd.DataFrame:
        """Read events of a session or run; see `intake_laion_fmri.open_events`."""
        return open_events(self._reader.subject, session=session, run=_number(run), bucket=self._reader.bucket)

    def get_raw_bold(
        self, session: str | int, run: int | str, echo: int | str, part: Part = "mag", mask_source: str = "anatomical"
    ) -> NDArray[np.float32]:
        """Read an echo of a run, shape (volume, voxel).

        Runs and echoes are ``1`` or ``"01"``. `mask_source` has no effect: masks are on another grid.
        """
        numbers: dict[str, Any] = {"run": _number(run), "echo": _number(echo)}
        series = open_bold(
            self._reader.subject, session, source="raw", part=part, bucket=self._reader.bucket, **numbers
        )
        return np.asarray(series.bold.values)

    def get_sbref(
        self, session: str | int, run: int | str, echo: int | str, part: Part = "mag", mask_source: str = "anatomical"
    ) -> NDArray[np.float32]:
        """Read the single-band reference of an echo, shape (voxel,); see `get_raw_bold`."""
        check_option("part", part, valid=("mag", "phase"))
        bucket, subject = self._reader.bucket, self._reader.subject
        chosen: dict[str, Any] = {"session": session, "run": _number(run), "task": "images"}
        try:
            files = RunFiles.from_bucket(bucket, subject, layout.RAW, "raw_sbref_part", **chosen).files
            files = tuple(file for file in files if file.entities["part"] == part)
        except NotInBucketError:
            if part != "mag":
                raise
            files = RunFiles.from_bucket(bucket, subject, layout.RAW, "raw_sbref", **chosen).files
        found = {file.entities["echo"]: file for file in files}
        number = str(_number(echo))
        if number not in found:
            raise unknown_value("echo", number, sorted(found), where=f"{subject} in {bucket.url}")
        info = found[number].info
        grid = open_beginning(bucket, info).header.grid
        return np.asarray(SessionBlock(bucket, info, grid, 1, (0,)).read(np.arange(grid.size))[0])


def _number(given: Any) -> Any:
    """Return the number of a run or echo spelled ``"01"`` or ``"run-01"``."""
    digits = given.rpartition("-")[2] if isinstance(given, str) else ""
    return int(digits) if digits.isdecimal() else given
