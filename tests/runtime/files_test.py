import errno
import os

import pytest

from jax_scadn.runtime import files


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "new folder" / "results.json"
    files.write_text(path, "old")

    def fail_halfway():
        with files.replacing(path) as part:
            part.write_text("half")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_file_system_errors_name_the_file(tmp_path):
    path = tmp_path / "map.png"
    with (
        pytest.raises(OSError, match=r"No space left.*map\.png"),
        files.replacing(path),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_suffix_is_kept(tmp_path):
    with files.replacing(tmp_path / "sheet.png") as part:
        assert part.suffix == ".png"
        part.write_bytes(b"x")


def test_names_that_are_not_utf8_can_be_written(tmp_path):
    files.write_text(tmp_path / "x.txt", "caf\udce9")
    assert (tmp_path / "x.txt").read_text() == "caf\\udce9"
