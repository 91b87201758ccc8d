"""The folder of a demo bucket: written whole or not at all, and only where nothing of anybody else's is."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from demo_files import all_labels, files, subjects

from intake_laion_fmri.demo import Scale, remove_demo, subject_truth, write_demo


def stamps(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}


def test_second_run_writes_nothing(tmp_path):
    """`make demo` can be typed again, with files of one's own in the folder."""
    path = write_demo(tmp_path / "demo", scale="tiny")
    (path / "notes.txt").write_text("mine")
    before = stamps(path)
    calls = []
    assert write_demo(tmp_path / "demo", scale="tiny", progress=lambda *step: calls.append(step)) == path
    assert stamps(path) == before
    assert not calls


def test_other_seed_replaces(tmp_path):
    """A demo bucket of another recipe gives way, and leaves nothing behind."""
    write_demo(tmp_path / "demo", scale="tiny", seed=3)
    write_demo(tmp_path / "demo", scale="tiny", seed=4)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    fresh = write_demo(tmp_path / "fresh", scale="tiny", seed=4)
    assert files(tmp_path / "demo") == files(fresh)


def add_one(path):
    (path / "store.zarr").write_text("hours of work")


def change_one(path):
    (path / "participants.tsv").write_text("participant_id\tage\nsub-01\t31\nsub-03\t27\n")


def describe_otherwise(path):
    text = (path / "dataset_description.json").read_text()
    (path / "dataset_description.json").write_text(text.replace("Synthetic demo bucket", "My demo bucket"))


def one_for_another(path):
    (path / "participants.json").unlink()
    (path / "notes.txt").write_text("mine")


def link_one(path):
    (path / "README").unlink()
    (path / "README").symlink_to(path / "participants.tsv")


@pytest.mark.parametrize("change", [add_one, change_one, describe_otherwise, one_for_another, link_one])
@pytest.mark.parametrize("how", ["replace", "remove"])
def test_files_of_others_are_spared(own_tiny, tmp_path, change, how):
    """A store built inside a demo bucket, or a table that was edited there, is not deleted with it."""
    change(own_tiny)
    before = stamps(own_tiny)
    with pytest.raises(FileExistsError, match="1 files were added or changed"):
        write_demo(own_tiny, scale="tiny", seed=1) if how == "replace" else remove_demo(own_tiny)
    assert stamps(own_tiny) == before
    assert [found.name for found in tmp_path.iterdir()] == ["bucket"]


def test_removing(own_tiny, occupied):
    """A demo bucket goes as a whole, twice is no error, and of anything else nothing goes."""
    remove_demo(own_tiny)
    assert not own_tiny.exists()
    remove_demo(own_tiny)
    with pytest.raises(FileExistsError, match="is not a demo bucket"):
        remove_demo(occupied)


@pytest.mark.parametrize("name", [".demo.replaced", ".demo.partial.outdated"])
def test_a_folder_beside_it_is_not_taken_for_its_own(tmp_path, name):
    """Whatever its name, it stays as it is; where it is in the way, this is said."""
    write_demo(tmp_path / "demo", scale="tiny")
    for other in (tmp_path / name, tmp_path / ".demo.partial"):
        other.mkdir()
        (other / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"\.demo\.partial is not a demo bucket"):
        write_demo(tmp_path / "demo", scale="tiny", seed=1)
    (tmp_path / ".demo.partial").rename(tmp_path / "elsewhere")
    write_demo(tmp_path / "demo", scale="tiny", seed=1)
    assert (tmp_path / name / "thesis.tex").read_text() == "years of work"


def test_several_at_once(tmp_path):
    """Whoever comes later waits, and finds it done."""
    with ThreadPoolExecutor(3) as pool:
        written = list(pool.map(lambda _: write_demo(tmp_path / "demo", scale="tiny"), range(3)))
    assert written == [tmp_path / "demo"] * 3
    assert files(tmp_path / "demo") == files(write_demo(tmp_path / "other", scale="tiny"))
    assert sorted(found.name for found in tmp_path.iterdir()) == ["demo", "other"]


def test_damaged_bucket_is_written_anew(tmp_path):
    """A demo bucket with a file missing is not taken for complete."""
    path = write_demo(tmp_path / "demo", scale="tiny")
    before = files(path)
    (path / "participants.tsv").unlink()
    assert files(write_demo(path, scale="tiny")) == before


def test_interrupted_run_leaves_nothing(tmp_path):
    """Ctrl-C never leaves half a bucket, and the next run succeeds, a stale partial folder notwithstanding."""

    def interrupt(done: int, total: int) -> None:
        if done == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo(tmp_path / "demo", scale="tiny", progress=interrupt)
    assert not list(tmp_path.iterdir())
    stale = write_demo(tmp_path / "other", scale="tiny").rename(tmp_path / ".demo.partial") / "derivatives"
    (stale / "left-over").write_text("from a killed run")
    path = write_demo(tmp_path / "demo", scale="tiny")
    assert [found.name for found in tmp_path.iterdir()] == ["demo"]
    assert not (path / "derivatives" / "left-over").exists()


def test_interrupted_replacement_keeps_the_old_bucket(tmp_path):
    """The old demo bucket stays whole until the new one is complete."""

    def interrupt(done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    before = files(write_demo(tmp_path / "demo", scale="tiny"))
    with pytest.raises(KeyboardInterrupt):
        write_demo(tmp_path / "demo", scale="tiny", seed=1, progress=interrupt)
    assert files(tmp_path / "demo") == before


def test_progress_counts_volumes(tmp_path):
    """A bar that starts at 0 ends full, one step per volume."""
    steps = []
    path = write_demo(tmp_path / "demo", scale="tiny", progress=lambda *step: steps.append(step))
    total = sum(len(all_labels(path, subject)) for subject in subjects(path))
    assert steps == [(done, total) for done in range(total + 1)]


@pytest.fixture
def occupied(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("years of work")
    yield folder
    assert (folder / "chapter.tex").read_text() == "years of work"


@pytest.mark.parametrize("description", [None, "no json", "[]", '{"GeneratedBy": [{"Name": "fMRIPrep"}]}'])
def test_folder_of_something_else_is_refused(occupied, description):
    """Nothing but a demo bucket is ever replaced."""
    if description is not None:
        (occupied / "dataset_description.json").write_text(description)
    with pytest.raises(FileExistsError, match=r"thesis is not a demo bucket \(it holds 'chapter\.tex'"):
        write_demo(occupied, scale="tiny")


def test_file_is_refused(tmp_path):
    """A file is never replaced by a folder."""
    (tmp_path / "demo").write_text("x")
    with pytest.raises(FileExistsError, match="a file"):
        write_demo(tmp_path / "demo", scale="tiny")


def test_empty_folder_and_missing_parents_are_fine(tmp_path):
    """`mkdir demo` first, or not at all: both work."""
    (tmp_path / "empty").mkdir()
    assert (write_demo(tmp_path / "empty", scale="tiny") / "README").exists()
    assert (write_demo(tmp_path / "a" / "b", scale="tiny") / "README").exists()


def test_unwritable_parent_is_an_os_error(tmp_path):
    """The system's own error says what is wrong with the folder."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        write_demo(tmp_path / "file" / "demo", scale="tiny")


def test_bad_arguments_name_the_remedy(tmp_path):
    """Typos are answered with the valid values."""
    with pytest.raises(ValueError, match=r"Unknown scale: 'smal'\. Did you mean 'small'\? Valid: tiny, small, session"):
        write_demo(tmp_path / "demo", scale="smal")
    with pytest.raises(ValueError, match="seed=-1 is negative"):
        write_demo(tmp_path / "demo", seed=-1)
    with pytest.raises(ValueError, match=r"subject='sub-05' is not in this scale: expected one of sub-01, sub-03"):
        subject_truth("sub-05", scale="tiny")
    with pytest.raises(ValueError, match=r"Unknown subjects: \['sub-02'\]"):
        Scale(("sub-02",), ("ses-01",), (13, 15, 11), 360, (642, 650), (3, 2), (3, 11), (3, 1, 1))
    assert not list(tmp_path.iterdir())
