import os
import pathlib

import pytest

from jax_scadn.data import walk


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(root, recursive=True):
    images, passed_over = walk.walk(root, recursive)
    return (
        [str(path.relative_to(root)) for path in images],
        {
            reason: [str(path.relative_to(root)) for path in paths]
            for reason, paths in passed_over.items()
        },
    )


def test_every_format_that_pillow_opens_has_its_ending():
    assert {".png", ".jpg", ".jfif", ".webp", ".gif", ".jp2", ".tif"} < walk.endings()
    assert not {".pdf", ".txt", ".eps", ".h5"} & walk.endings()


def test_what_is_hidden_is_passed_over(tmp_path):
    hidden = [
        ".ipynb_checkpoints", "@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX",
        ".Trash-1000", "a/.thumbnails",
    ]  # fmt: skip
    touch(tmp_path, *(f"{name}/0.png" for name in hidden))
    touch(tmp_path, "a/1.png", "a/._1.png")
    images, passed_over = found(tmp_path)
    assert images == ["a/1.png"]
    assert passed_over == {walk.HIDDEN: sorted([*hidden, "a/._1.png"])}


def test_links_are_entered_once_and_loops_end(tmp_path):
    touch(tmp_path, "store/0.png", "store/deep/1.png")
    root = tmp_path / "root"
    touch(root, "2.png")
    os.symlink(tmp_path / "store", root / "a")
    os.symlink(tmp_path / "store", root / "b")
    os.symlink(root, tmp_path / "store/up")
    images, passed_over = found(root)
    assert images == ["2.png", "a/0.png", "a/deep/1.png"]
    assert passed_over == {walk.SEEN: ["a/up", "b"]}


def test_what_cannot_be_read_is_an_image_so_that_reading_reports_it(tmp_path):
    touch(tmp_path, "0.png", "locked/1.png")
    os.symlink(tmp_path / "gone.png", tmp_path / "dangling.png")
    os.symlink("loop.png", tmp_path / "loop.png")
    (tmp_path / "locked").chmod(0)
    try:
        images, _ = found(tmp_path)
    finally:
        (tmp_path / "locked").chmod(0o700)
    locked = "locked/1.png" if os.geteuid() == 0 else "locked"
    assert images == ["0.png", "dangling.png", locked, "loop.png"]


def test_other_files_pipes_and_sub_folders_are_said(tmp_path):
    touch(tmp_path, "0.PNG", "notes.txt", "sub/1.png", "empty/readme.md")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    images, passed_over = found(tmp_path)
    assert images == ["0.PNG", "sub/1.png"]
    assert passed_over == {
        walk.NO_IMAGE: ["empty/readme.md", "notes.txt"],
        walk.NO_FILE: ["pipe.png"],
    }
    images, passed_over = found(tmp_path, recursive=False)
    assert images == ["0.PNG"]
    assert passed_over[walk.SUBFOLDER] == ["sub"]


def test_a_line_names_three_of_each(tmp_path):
    paths = [tmp_path / f"{n}.txt" for n in range(4)]
    line = walk.note({walk.NO_IMAGE: paths}, tmp_path)
    names = "(0.txt, 1.txt, 2.txt, ...)"
    assert line == f"passed over in {tmp_path}: 4 with another ending {names}"
    assert walk.note({}, tmp_path) == ""


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_an_empty_or_missing_folder(tmp_path, name):
    expected = [pathlib.Path("nowhere")] if name else []
    images, _ = walk.walk(tmp_path / name)
    assert [path.relative_to(tmp_path) for path in images] == expected
