"""Writing and deleting: whole or not at all, through no link, and nothing that is not this project's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from intake_laion_fmri.remote import atomic, marks
from intake_laion_fmri.store.metadata import root_metadata
from intake_laion_fmri.store.options import StoreOptions

linux = pytest.mark.skipif(sys.platform != "linux", reason="how Linux does it")


def names(folder: Path) -> list[str]:
    """Return everything below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("durable", [True, False])
def test_a_file_appears_whole_in_place_of_another(tmp_path: Path, within: bool, durable: bool) -> None:
    target = tmp_path / "a" / "b" / "file"
    for content in (b"first", [b"se", b"cond"]):
        atomic.write_whole(target, content, durable=durable, within=tmp_path if within else None)
    assert target.read_bytes() == b"second"
    assert names(tmp_path) == ["a", "a/b", "a/b/file"]


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise OSError("no more")

    target = tmp_path / "file"
    target.write_bytes(b"before")
    with pytest.raises(OSError, match="no more"):
        atomic.write_whole(target, pieces())
    assert (names(tmp_path), target.read_bytes()) == (["file"], b"before")


def test_of_two_writers_of_a_new_file_one_wins(tmp_path: Path) -> None:
    target = tmp_path / "file"
    atomic.write_whole(target, b"first", exclusive=True)
    with pytest.raises(FileExistsError):
        atomic.write_whole(target, b"second", exclusive=True)
    assert (names(tmp_path), target.read_bytes()) == (["file"], b"first")


def test_a_longest_name_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 255)
    atomic.write_whole(target, b"content")
    assert target.read_bytes() == b"content"


def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path: Path) -> None:
    victim, target = tmp_path / "victim", tmp_path / "folder" / "file"
    victim.write_bytes(b"precious")
    target.parent.mkdir()
    target.symlink_to(victim)
    atomic.write_whole(target, b"new", within=tmp_path)
    assert (victim.read_bytes(), target.read_bytes(), target.is_symlink()) == (b"precious", b"new", False)
    target.unlink()
    target.symlink_to(victim)
    atomic.remove(target)
    assert (victim.exists(), os.path.lexists(target)) == (True, False)


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own there")
@pytest.mark.parametrize("action", ["write", "remove", "move", "make", "in place"])
def test_no_link_is_followed_below_a_folder(tmp_path: Path, action: str) -> None:
    """Others may write to the folder, and lay a link to somewhere else into the way."""
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    elsewhere.mkdir()
    folder.mkdir()
    (elsewhere / "file").write_bytes(b"precious")
    (folder / "own").write_bytes(b"own")
    (folder / "part").symlink_to(elsewhere)
    target = folder / "part" / "file"
    actions = {
        "write": lambda: atomic.write_whole(target, b"new", within=folder),
        "remove": lambda: atomic.remove(target, within=folder),
        "move": lambda: atomic.move(folder / "own", target, within=folder),
        "make": lambda: atomic.make_folder(target.with_name("new"), within=folder),
        "in place": lambda: atomic.open_in_place(target, within=folder),
    }
    with pytest.raises(OSError, match="symbolic link"):
        actions[action]()
    assert (elsewhere / "file").read_bytes() == b"precious"
    assert (names(elsewhere), names(folder)) == (["file"], ["own", "part"])


def test_nothing_is_written_above_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "a" / ".." / ".." / "file", tmp_path.parent / "file"):
        with pytest.raises(ValueError, match=r"within|subpath"):
            atomic.write_whole(path, b"new", within=tmp_path)
    assert names(tmp_path) == []


def test_a_file_is_continued_in_place(tmp_path: Path) -> None:
    path = tmp_path / "a" / "part"
    for offset, content in ((0, b"first "), (6, b"second")):
        with atomic.open_in_place(path, within=tmp_path) as file:
            file.seek(offset)
            file.write(content)
    assert path.read_bytes() == b"first second"


@linux
def test_only_a_plain_file_is_continued(tmp_path: Path) -> None:
    """A second name, a link or a pipe may be planted where a part is expected."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    os.link(victim, tmp_path / "second")
    (tmp_path / "link").symlink_to(victim)
    os.mkfifo(tmp_path / "pipe")
    for name in ("second", "link", "pipe"):
        with pytest.raises(OSError, match=name):
            atomic.open_in_place(tmp_path / name)
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    new, target = tmp_path / "new", tmp_path / "above" / "target"
    for number in range(2):
        new.mkdir()
        (new / str(number)).touch()
        replaced = atomic.put_in_place(new, target, durable=True)
        assert names(target) == [str(number)]
        assert (replaced is None) == (number == 0)
    assert replaced is not None
    assert names(replaced) == ["0"]
    target.rename(tmp_path / "elsewhere")
    target.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "third").mkdir()
    with pytest.raises(FileExistsError, match="target"):
        atomic.put_in_place(tmp_path / "third", target)


@linux
def test_a_process_killed_at_any_call_leaves_the_old_folder_or_the_new(tmp_path: Path) -> None:
    """Where the system can exchange two folders, there is no moment with neither."""
    code = """
import os, sys
from pathlib import Path
from intake_laion_fmri.remote import atomic
seen, last = 0, int(sys.argv[2])
def stop(event, arguments):
    global seen
    if event.split(".")[0] in {"os", "open", "ctypes", "pathlib"}:
        seen += 1
        if seen > last:
            os._exit(9)
sys.addaudithook(stop)
atomic.put_in_place(Path(sys.argv[1], "new"), Path(sys.argv[1], "target"), durable=True)
"""
    for last in range(100):
        folder = tmp_path / str(last)
        for name in ("new", "target"):
            (folder / name).mkdir(parents=True)
            (folder / name / name).touch()
        done = subprocess.run([sys.executable, "-c", code, str(folder), str(last)], check=False)
        assert names(folder / "target") in (["new"], ["target"]), last
        if done.returncode == 0:
            break
    assert (done.returncode, names(folder / "target")) == (0, ["new"])


def test_what_is_known_of_a_folder_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "own").touch()
    for name in ("own", "a/own", "b/c/own", "b/notes.txt"):
        atomic.create(folder / name, b"")
    (folder / "link").symlink_to(elsewhere)
    assert atomic.remove_known(folder, lambda name: name.endswith("own")) == ["b/notes.txt", "link"]
    assert (names(folder), names(elsewhere)) == (["b", "b/notes.txt", "link"], ["own"])
    atomic.remove_tree(folder)
    atomic.remove_tree(folder)
    assert (folder.exists(), names(elsewhere)) == (False, ["own"])


def test_a_tree_behind_a_link_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with pytest.raises(OSError, match="link"):
        atomic.remove_tree(tmp_path / "link")
    assert names(tmp_path) == ["folder", "folder/file", "link"]


def test_a_new_file_is_never_an_old_one(tmp_path: Path) -> None:
    atomic.create(tmp_path / "a" / "file", [b"con", b"tent"], durable=True)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("a/file", "dangling"):
        with pytest.raises(FileExistsError):
            atomic.create(tmp_path / name, b"other")
    assert ((tmp_path / "a" / "file").read_bytes(), (tmp_path / "nowhere").exists()) == (b"content", False)


MARKED = {
    marks.STORE: ("zarr.json", root_metadata(StoreOptions.from_arguments({}, None))),
    marks.CACHE: ("CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55\n# By intake-laion-fmri\n"),
    marks.DEMO: ("dataset_description.json", b'{"GeneratedBy": [{"Name": "intake_laion_fmri.demo"}]}'),
}


@pytest.mark.parametrize("mark", MARKED, ids=lambda mark: mark.what)
def test_a_folder_is_ours_if_it_is_absent_or_empty_or_marked(tmp_path: Path, mark: marks.Mark) -> None:
    folder = tmp_path / "folder"
    marks.raise_unless_ours(folder, mark)
    folder.mkdir()
    marks.raise_unless_ours(folder, mark)
    (folder / "notes.txt").touch()
    with pytest.raises(FileExistsError, match=rf"folder is not {mark.what}.*'notes.txt'.*Give a path"):
        marks.raise_unless_ours(folder, mark)
    name, content = MARKED[mark]
    if content:  # a file of this name says nothing by itself
        (folder / name).write_bytes(b'{"attributes": {}, "GeneratedBy": []}')
        with pytest.raises(FileExistsError):
            marks.raise_unless_ours(folder, mark)
        (folder / name).unlink()
    atomic.create(folder / name, content)
    marks.raise_unless_ours(folder, mark)


@pytest.mark.parametrize("mark", MARKED, ids=lambda mark: mark.what)
def test_a_folder_is_ours_while_its_mark_is_written(tmp_path: Path, mark: marks.Mark) -> None:
    """By another thread or process, or by one that was killed: but not with anything else in it."""
    name, content = MARKED[mark]
    seen: list[list[str]] = []

    def pieces() -> Iterator[bytes]:
        yield content
        seen.append(os.listdir(tmp_path))
        marks.raise_unless_ours(tmp_path, mark)
        (tmp_path / f"notes.txt.{'0' * 32}.tmp").touch()
        with pytest.raises(FileExistsError, match="'notes"):
            marks.raise_unless_ours(tmp_path, mark)

    atomic.write_whole(tmp_path / name, pieces())
    assert [atomic.is_unfinished(one, name) for one in seen[0]] == [True]
    marks.raise_unless_ours(tmp_path, mark)


@pytest.mark.parametrize("mark", [*MARKED, marks.CATALOG], ids=lambda mark: mark.what)
def test_neither_file_nor_dangling_link_is_ours(tmp_path: Path, mark: marks.Mark) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "dangling"):
        with pytest.raises(FileExistsError, match=name):
            marks.raise_unless_ours(tmp_path / name, mark)


def test_a_catalog_is_known_by_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    marks.raise_unless_ours(path, marks.CATALOG)
    path.write_bytes(b"# Written by `intake-laion-fmri catalog write` from inventory.json beside it: do not edit.\n")
    marks.raise_unless_ours(path, marks.CATALOG)
    with pytest.raises(FileExistsError, match="a folder"):
        marks.raise_unless_ours(tmp_path, marks.CATALOG)
