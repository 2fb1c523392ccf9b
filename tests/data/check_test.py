import pathlib
import subprocess
import sys

import conftest
import numpy as np
import pytest
from PIL import Image

from jax_scadn import methods
from jax_scadn.data import check, sources
from jax_scadn.runtime import errors


def _write(path, seed, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(1, 256, size[::-1], np.uint8)
    Image.fromarray(noise).save(path)


@pytest.fixture
def bolt(tmp_path):
    """A category without problems."""
    bolt = tmp_path / "bolt"
    for index in range(6):
        _write(bolt / f"train/good/{index}.png", index)
        _write(bolt / f"test/good/{index}.png", 10 + index)
        _write(bolt / f"test/hole/{index}.png", 20 + index)
        _write(bolt / f"ground_truth/hole/{index}_mask.png", 30 + index)
    return bolt


def _config(bolt):
    config = methods.default()
    config.data.update(
        {"path": str(bolt.parent), "category": "bolt", "size": 8, "channels": 1}
    )
    return config


def _load(bolt):
    return sources.load(_config(bolt).data, seed=0)


def _problems(bolt):
    """{kind: [(file names, fatal)]}."""
    problems = {}
    for problem in check.check(_load(bolt)):
        assert "\n" not in problem.message
        names = [str(pathlib.Path(path).relative_to(bolt)) for path in problem.paths]
        assert all(path in problem.message for path in problem.paths)
        problems.setdefault(problem.kind, []).append((*names, problem.fatal))
    return problems


def _damage(bolt):
    data = (bolt / "train/good/1.png").read_bytes()
    (bolt / "train/good/1.png").write_bytes(data[: len(data) // 2])
    (bolt / "test/good/2.png").write_bytes(b"")
    (bolt / "ground_truth/hole/3_mask.png").write_bytes(b"junk")
    _write(bolt / "ground_truth/hole/4_mask.png", 0, (8, 9))


def test_good_data_have_no_problems(bolt):
    assert _problems(bolt) == {}
    dataset = _load(bolt)
    assert check.enforce(dataset, "stop") is dataset


def test_bad_files_are_fatal_and_named(bolt):
    _damage(bolt)
    assert _problems(bolt) == {
        check.UNREADABLE: [
            ("train/good/1.png", True),
            ("test/good/2.png", True),
            ("ground_truth/hole/3_mask.png", True),
        ],
        check.MASK_SIZE: [("ground_truth/hole/4_mask.png", True)],
    }


def test_stop_names_the_bad_files_on_one_line(bolt):
    _damage(bolt)
    with pytest.raises(errors.UserError, match=r"--config\.data\.on_bad=skip") as info:
        check.enforce(_load(bolt), "stop")
    message = str(info.value)
    assert "\n" not in message
    for name in ("good/1.png", "good/2.png", "3_mask.png", "4_mask.png is 8x9"):
        assert name in message


def test_stop_names_five_and_counts_the_rest(bolt):
    for index in range(6):
        (bolt / f"test/good/{index}.png").write_bytes(b"")
    (bolt / "test/hole/0.png").write_bytes(b"")
    with pytest.raises(errors.UserError, match=r"good/4\.png.*; and 2 more") as info:
        check.enforce(_load(bolt), "stop")
    assert "good/5.png" not in str(info.value)


def test_skip_drops_bad_images_and_those_with_a_bad_mask(bolt):
    _damage(bolt)
    before = _load(bolt)
    after = check.enforce(before, "skip")
    dropped = set()
    for name in ("train", "held_out", "test"):
        old, new = getattr(before, name).paths, getattr(after, name).paths
        assert new == [path for path in old if path in new]
        dropped |= set(old) - set(new)
    names = {str(pathlib.Path(path).relative_to(bolt)) for path in dropped}
    assert names == {
        "train/good/1.png",
        "test/good/2.png",
        "test/hole/3.png",
        "test/hole/4.png",
    }
    assert after.test.images().shape == (9, 8, 8, 1)
    assert check.check(after) == []


def test_skip_cannot_drop_all_training_images(bolt):
    for path in (bolt / "train/good").iterdir():
        path.write_bytes(b"")
    with pytest.raises(errors.UserError, match="no training images"):
        check.enforce(_load(bolt), "skip")


def test_masks_without_image_and_images_without_mask(bolt):
    (bolt / "test/hole/0.png").unlink()
    (bolt / "ground_truth/hole/1_mask.png").unlink()
    assert _problems(bolt) == {
        check.UNPAIRED_MASK: [("ground_truth/hole/0_mask.png", False)],
        check.NO_MASK: [("test/hole/1.png", False)],
    }
    check.enforce(_load(bolt), "stop")  # not fatal


def test_data_without_masks_have_no_problems(bolt):
    for path in (bolt / "ground_truth/hole").iterdir():
        path.unlink()
    assert _problems(bolt) == {}


def test_duplicates_are_detected_by_pixels(bolt):
    with Image.open(bolt / "train/good/5.png") as image:
        image.save(bolt / "test/hole/2.bmp")
    (bolt / "test/hole/2.png").unlink()
    expected = [("train/good/5.png", "test/hole/2.bmp", False)]
    assert _problems(bolt) == {check.DUPLICATE: expected}


def test_duplicates_of_held_out_images_count_too(bolt):
    held_out = pathlib.Path(_load(bolt).held_out.paths[0])
    (bolt / "test/good/0.png").write_bytes(held_out.read_bytes())
    expected = [(f"train/good/{held_out.name}", "test/good/0.png", False)]
    assert _problems(bolt) == {check.DUPLICATE: expected}


def test_held_out_images_that_are_also_trained_on_are_named(bolt):
    dataset = _load(bolt)
    held_out, trained = (
        pathlib.Path(split.paths[0]) for split in (dataset.held_out, dataset.train)
    )
    held_out.write_bytes(trained.read_bytes())
    names = (f"train/good/{trained.name}", f"train/good/{held_out.name}", False)
    assert _problems(bolt) == {check.LEAK: [names]}


@pytest.mark.parametrize(
    ("mask", "kind"),
    [
        (np.zeros((8, 8)), check.EMPTY_MASK),
        (np.ones((8, 8)), check.FULL_MASK),
        (1 - np.pad(np.ones((2, 2)), 3), check.INVERTED_MASK),
        (np.pad(np.ones((7, 7)), ((1, 0), (0, 1))), None),  # a large defect
    ],
)
def test_masks_that_cannot_be_right_are_named(bolt, mask, kind):
    path = bolt / "ground_truth/hole/2_mask.png"
    Image.fromarray((255 * mask).astype(np.uint8)).save(path)
    expected = {kind: [("ground_truth/hole/2_mask.png", False)]} if kind else {}
    assert _problems(bolt) == expected


def test_a_defect_outside_of_the_crop_is_named(bolt):
    _write(bolt / "test/hole/2.png", 0, size=(16, 8))
    mask = np.zeros((8, 16), np.uint8)
    mask[2:4, :2] = 255
    Image.fromarray(mask).save(bolt / "ground_truth/hole/2_mask.png")
    expected = [("ground_truth/hole/2_mask.png", False)]
    assert _problems(bolt) == {}
    config = _config(bolt)
    config.data.fit = "crop"
    not_seen, cut = sorted(
        check.check(sources.load(config.data, 0)), key=lambda problem: problem.kind
    )
    assert (cut.kind, cut.paths) == (check.CUT_MASK, (str(bolt / expected[0][0]),))
    assert not_seen.kind == check.NOT_SEEN
    assert "of 1 images up to 50% are not seen" in not_seen.message


def test_what_is_not_taken_is_said(bolt):
    (bolt / "test/hole/notes.txt").touch()
    assert check.NOT_TAKEN in _problems(bolt)
    check.enforce(_load(bolt), "stop")  # not fatal


def test_empty_splits(bolt):
    for path in (bolt / "test/good").iterdir():
        path.unlink()
    (problem,) = check.check(_load(bolt))
    assert (problem.kind, problem.fatal) == (check.EMPTY, False)
    assert problem.message == "no normal test images"
    for path in (bolt / "test/hole").iterdir():
        path.unlink()
    messages = [problem.message for problem in check.check(_load(bolt))]
    assert "no test images" in messages


def test_report(bolt, capsys):
    assert not check.report(_config(bolt))
    text = capsys.readouterr().out
    for line in (
        "train: 5 images (good 5)",
        "held out: 1 images (good 1)",
        "test: 12 images (good 6, hole 6)",
        "image sizes: 8x8 (18)",
        "no problems",
    ):
        assert line in text
    _damage(bolt)
    assert check.report(_config(bolt))
    text = capsys.readouterr().out
    assert f"FATAL: 3 {check.UNREADABLE}" in text
    assert "unreadable (2)" in text


def test_report_continues_after_an_empty_category(bolt, capsys):
    (bolt.parent / "anchor/train/good").mkdir(parents=True)
    config = _config(bolt)
    config.data.category = ""
    assert check.report(config)
    text = capsys.readouterr().out
    assert "FATAL: " in text
    assert "test: 12 images" in text


def test_command_line(bolt, tmp_path):
    config = tmp_path / "config.py"
    config.write_text("from jax_scadn import methods\nget_config = methods.default\n")

    def run(*flags):
        command = [sys.executable, "-m", "jax_scadn.check_data", f"--config={config}"]
        sizes = ["--config.data.size=24", *flags]
        root = conftest.ROOT
        return subprocess.run(
            [*command, *sizes], cwd=root, capture_output=True, text=True, check=False
        )

    (bolt / "test/hole/0.png").write_bytes(b"")
    done = run(f"--config.data.path={bolt}")
    assert done.returncode == 1, done.stderr
    assert "hole/0.png" in done.stdout
    failed = run(f"--config.data.path={bolt / 'gone'}")
    assert failed.returncode == 2
    assert len(failed.stderr.splitlines()) == 1


def test_further_pages_are_said(bolt):
    path = bolt / "train/good/1.tif"
    first = Image.new("L", (8, 8), 9)
    first.save(path, save_all=True, append_images=[Image.new("L", (8, 8))])
    assert _problems(bolt) == {check.MORE_PAGES: [("train/good/1.tif", False)]}


def test_dark_images_of_sixteen_bit_are_said(bolt):
    for index, path in enumerate(sorted(bolt.glob("t*/*/*.png"))):
        noise = np.random.default_rng(index).integers(0, 4095, (8, 8), np.uint16)
        noise[0, 0] = 4095
        Image.fromarray(noise).save(path)
    (problem,) = check.check(_load(bolt))
    assert (problem.kind, problem.fatal) == (check.DARK, False)
    assert problem.message == (
        "the brightest of 18 16-bit images is 4095 of 65535: set "
        "--config.data.white=4095 if the camera has 12 bit"
    )
    config = _config(bolt)
    config.data.white = 4095
    assert check.check(sources.load(config.data, seed=0)) == []
    Image.fromarray(noise * 5).save(path)
    assert check.check(_load(bolt)) == []
