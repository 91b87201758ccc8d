"""What is listed against what is known: `catalog check`."""

from __future__ import annotations

from pathlib import Path

from intake_laion_fmri.catalog.drift import Change, compare
from intake_laion_fmri.catalog.files import ROOT_FILE, catalog_files, changed_files, write_files
from intake_laion_fmri.catalog.inventory import Inventory, RoiRecord, SessionRecord, SubjectRecord


class TestDrift:
    """What differs between two inventories."""

    known = Inventory(
        "before",
        {
            "sub-01": SubjectRecord(
                (SessionRecord("ses-01", 10), SessionRecord("ses-02", 20)),
                (RoiRecord("FFA1", "face", ("volume", "label"), 5), RoiRecord("OFA", "face", ("volume",), 6)),
            ),
            "sub-03": SubjectRecord((SessionRecord("ses-01"),), None, {"all": 2, "face": 1}),
        },
    )

    def found(self, **subjects: SubjectRecord) -> list[str]:
        renamed = {name.replace("_", "-"): record for name, record in subjects.items()}
        return [str(change) for change in compare(self.known, Inventory("now", {**self.known.subjects, **renamed}))]

    def test_none(self) -> None:
        """Nor is it one to know less, or more, of the same."""
        assert self.found() == []
        documented = SubjectRecord(
            (SessionRecord("ses-01"), SessionRecord("ses-02")), (RoiRecord("FFA1", "face"), RoiRecord("OFA", "face"))
        )
        assert self.found(sub_01=documented) == []
        assert (
            compare(Inventory("", {"sub-01": documented}), Inventory("", {"sub-01": self.known.subjects["sub-01"]}))
            == []
        )

    def test_sessions(self) -> None:
        sessions = (SessionRecord("ses-02", 30), SessionRecord("ses-03", 1), SessionRecord("ses-31", held_out=True))
        assert self.found(sub_01=SubjectRecord(sessions, self.known.subjects["sub-01"].rois)) == [
            "gone     sub-01 ses-01: public",
            "changed  sub-01 ses-02: bytes 20 -> 30",
            "new      sub-01 ses-03: public",
            "new      sub-01 ses-31: held out",
        ]

    def test_regions(self) -> None:
        rois = (RoiRecord("AFP1", "face"), RoiRecord("FFA1", "body", ("volume",), 7))
        assert self.found(sub_01=SubjectRecord(self.known.subjects["sub-01"].sessions, rois)) == [
            "new      sub-01 roi AFP1: face",
            "changed  sub-01 roi FFA1: category face -> body; formats volume,label -> volume; bytes 5 -> 7",
            "gone     sub-01 roi OFA: face",
        ]

    def test_subjects(self) -> None:
        assert self.found(sub_09=SubjectRecord((SessionRecord("ses-31", held_out=True),), ())) == [
            "new      sub-09: 0 public sessions and 0 ROIs"
        ]
        changes = compare(self.known, Inventory("now", {"sub-01": self.known.subjects["sub-01"]}))
        assert [str(change) for change in changes] == [
            "gone     sub-03: 1 public session; its 2 ROIs are not known by name"
        ]

    def test_names_that_were_not_known_are_new_and_their_number_is_compared(self) -> None:
        rois = (RoiRecord("PPA", "place"), RoiRecord("FFA1", "face"))
        sessions = self.known.subjects["sub-03"].sessions
        assert self.found(sub_03=SubjectRecord(sessions, rois)) == [
            "new      sub-03 roi FFA1: face",
            "new      sub-03 roi PPA: place",
        ]
        assert self.found(sub_03=SubjectRecord(sessions, rois[:1])) == [
            "new      sub-03 roi PPA: place",
            "changed  sub-03 roi_count all: 2 documented, 1 found",
            "changed  sub-03 roi_count face: 1 documented, 0 found",
        ]

    def test_files(self, tmp_path: Path) -> None:
        files = catalog_files(self.known)
        write_files(files, tmp_path)
        assert changed_files(files, tmp_path) == []
        (tmp_path / "sub-01.yaml").unlink()
        (tmp_path / ROOT_FILE).write_text("sources: {}")
        assert [(change.change, change.name) for change in changed_files(files, tmp_path)] == [
            ("changed", ROOT_FILE),
            ("gone", "sub-01.yaml"),
        ]
        assert str(Change("", "file", "x.yaml", "gone", "why")) == "gone     file x.yaml: why"
