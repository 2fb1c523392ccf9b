import pathlib

import conftest
import pytest
from PIL import Image

from jax_scadn.data import folder, records
from jax_scadn.runtime import errors

BOTTLE = conftest.SHARED / "data/mvtec_ad/bottle"


def _write(path, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF"}.get(path.suffix.lower())
    Image.new("L", (8, 8), value).save(path, kind or path.suffix[1:])


@pytest.fixture
def bolt(tmp_path):
    """A category with unusual names, suffixes and orders."""
    bolt = tmp_path / "bolt"
    for name in ("b.PNG", "a.JPG", "c.jpeg", "d.Tif", "e.bmp", "f.tiff"):
        _write(bolt / "train/good" / name)
    (bolt / "train/good/SOURCE.json").write_text("{}")
    (bolt / "train/good/._a.png").write_bytes(b"macOS")
    (bolt / "train/good/folder.png").mkdir()
    (bolt / "license.txt").write_text("free")
    _write(bolt / "test/good/0.png")
    for stem, value in (("0", 255), ("2", 255), ("10", 0)):
        _write(bolt / f"test/hole/{stem}.JPG")
        _write(bolt / f"ground_truth/hole/{stem}_mask.png", value)
    _write(bolt / "test/hole/1.png")  # no mask: pairing by position would fail
    _write(bolt / "test/hole/deep/2.png")
    _write(bolt / "ground_truth/hole/deep/2.bmp", 0)
    _write(bolt / "test/scratch/0.png")
    _write(bolt / "test/of_no_defect.png")
    _write(bolt / "ground_truth/good/0_mask.png", 255)
    _write(bolt / "ground_truth/scratch/7_mask.png")
    return bolt


def test_images_have_a_suffix_in_any_case(bolt):
    train = folder.items(bolt, 8, 1).train
    names = [pathlib.Path(item.path).name for item in train]
    assert names == ["a.JPG", "b.PNG", "c.jpeg", "d.Tif", "e.bmp", "f.tiff"]
    assert {(item.label, item.defect) for item in train} == {(records.NORMAL, "good")}
    assert all(item.read().image.shape == (8, 8, 1) for item in train)


def test_masks_are_paired_by_path_and_stem(bolt):
    _, test, unpaired, _ = folder.items(bolt, 8, 1)
    actual = {}
    for item in test:
        mask = item.read().mask
        name = str(pathlib.Path(item.path).relative_to(bolt / "test"))
        actual[name] = (item.label, item.defect, None if mask is None else mask.all())
    assert actual == {
        "good/0.png": (records.NORMAL, "good", None),
        "hole/0.JPG": (records.ANOMALOUS, "hole", True),
        "hole/1.png": (records.ANOMALOUS, "hole", None),
        "hole/10.JPG": (records.ANOMALOUS, "hole", False),
        "hole/2.JPG": (records.ANOMALOUS, "hole", True),
        "hole/deep/2.png": (records.ANOMALOUS, "hole", False),
        "scratch/0.png": (records.ANOMALOUS, "scratch", None),
    }
    assert list(actual) == sorted(actual)
    assert unpaired == (str(bolt / "ground_truth/scratch/7_mask.png"),)
    assert test[1].mask_path == str(bolt / "ground_truth/hole/0_mask.png")


def test_locates_categories(bolt, monkeypatch):
    _write(bolt.parent / "anchor/train/good/0.png")
    (bolt.parent / "notes").mkdir()
    root = str(bolt.parent)
    assert folder.categories(root) == ("anchor", "bolt")
    assert folder.locate(root, "bolt") == bolt
    assert folder.categories(str(bolt)) == ("",)
    assert folder.locate(str(bolt), "") == folder.locate(str(bolt), "bolt") == bolt
    monkeypatch.chdir(bolt)
    assert folder.locate(".", "bolt").samefile(bolt)


def test_the_only_category_needs_no_name(bolt):
    assert folder.locate(str(bolt.parent), "") == bolt


@pytest.mark.parametrize(
    ("path", "category", "message"),
    [
        ("", "", r"--config\.data\.path is empty.*mvtec-ad"),
        ("gone", "", r"gone is not a directory.*--config\.data\.path.*LaceAD"),
        ("bolt/test", "", r"no category.*--config\.data\.path"),
        ("", "nut", r"--config\.data\.path is empty"),
        (".", "nut", r"no category 'nut'.*--config\.data\.category.*: anchor, bolt"),
        (".", "", r"several.*--config\.data\.category.*: anchor, bolt"),
        ("bolt", "nut", r"no category 'nut'.*: bolt"),
    ],
)
def test_errors_say_what_to_do(bolt, path, category, message):
    _write(bolt.parent / "anchor/train/good/0.png")
    path = str(bolt.parent / path) if path else ""
    with pytest.raises(errors.UserError, match=message) as info:
        folder.locate(path, category)
    assert "\n" not in str(info.value)


def test_empty_train_good(tmp_path):
    (tmp_path / "train/good").mkdir(parents=True)
    (tmp_path / "train/good/readme.txt").write_text("none")
    with pytest.raises(errors.UserError, match=r"train/good contains no images.*tiff"):
        folder.items(tmp_path, 8, 1)


def test_plain_folders(tmp_path):
    for name in ("ok/1.png", "ok/0.png", "ok/reject/9.png", "bad/3.png"):
        _write(tmp_path / name)
    _write(tmp_path / "mixed/good/0.png")
    _write(tmp_path / "mixed/dent/0.png")

    def listed(items):
        return [
            (
                str(pathlib.Path(item.path).relative_to(tmp_path)),
                item.label,
                item.defect,
            )
            for item in items
        ]

    train, test, *_ = folder.plain_items(str(tmp_path / "ok"), "", 8, 1)
    assert listed(train) == [("ok/0.png", 0, "good"), ("ok/1.png", 0, "good")]
    assert test == []
    test = folder.plain_items(str(tmp_path / "ok"), str(tmp_path / "bad"), 8, 1).test
    assert listed(test) == [("bad/3.png", 1, "bad")]
    test = folder.plain_items(str(tmp_path / "ok"), str(tmp_path / "mixed"), 8, 1).test
    expected = [("mixed/dent/0.png", 1, "dent"), ("mixed/good/0.png", 0, "good")]
    assert listed(test) == expected


@pytest.mark.parametrize(
    ("path", "test_path", "message"),
    [
        ("", "", r"--config\.data\.path is empty"),
        ("empty", "", r"empty contains no images.*--config\.data\.source=folder"),
        ("ok", "gone", r"gone is not a directory: set --config\.data\.test_path"),
        ("ok", "empty", r"empty contains no images.*--config\.data\.test_path"),
    ],
)
def test_plain_errors(tmp_path, path, test_path, message):
    _write(tmp_path / "ok/0.png")
    (tmp_path / "empty").mkdir()
    paths = [str(tmp_path / name) if name else "" for name in (path, test_path)]
    with pytest.raises(errors.UserError, match=message):
        folder.plain_items(*paths, 8, 1)


@pytest.mark.skipif(not BOTTLE.is_dir(), reason=f"{BOTTLE} is missing")
def test_mvtec_bottle_is_complete():
    train, test, unpaired, notes = folder.items(BOTTLE, 16, 3)
    assert (len(train), len(test), unpaired, notes) == (209, 83, (), ())
    assert all((item.read_mask is None) == (item.label == 0) for item in test)
    assert sum(item.label for item in test) == 63


def test_notes_say_what_was_not_taken_as_it_lies_there(bolt):
    notes = folder.items(bolt, 8, 1).notes
    good = bolt / "train/good"
    assert notes == (
        f"passed over in {good}: 1 hidden (._a.png); "
        "1 with another ending (SOURCE.json)",
        f"1 images directly in {bolt / 'test'} are not taken: no folder names their "
        "defect (of_no_defect.png, ...)",
    )


@pytest.mark.parametrize("name", ["Good", "ok", "NORMAL", "good "])
def test_normal_images_under_other_names_are_normal(tmp_path, name):
    _write(tmp_path / f"train/{name}/0.png")
    _write(tmp_path / f"test/{name}/1.png")
    _write(tmp_path / "test/hole/2.png")
    assert folder.categories(str(tmp_path)) == ("",)
    train, test, _, notes = folder.items(tmp_path, 8, 1)
    assert sorted(item.defect for item in (*train, *test)) == ["good", "good", "hole"]
    assert sorted(item.label for item in test) == [0, 1]
    assert notes == (
        f"{tmp_path}/test/{name} is taken as normal images",
        f"{tmp_path}/train/{name} is taken as normal images",
    )


def test_a_mask_of_several_images_is_said(tmp_path):
    _write(tmp_path / "train/good/0.png")
    for name in ("0.png", "0.bmp"):
        _write(tmp_path / "test/hole" / name)
    mask = tmp_path / "ground_truth/hole/0_MASK.png"
    _write(mask, 255)
    _, test, unpaired, notes = folder.items(tmp_path, 8, 1)
    assert [item.mask_path for item in test] == [str(mask)] * 2
    assert unpaired == ()
    assert notes == (f"{mask} belongs to 2 images of the same name",)


def test_plain_folders_say_what_lies_deeper(tmp_path):
    _write(tmp_path / "ok/1.png")
    _write(tmp_path / "ok/more/2.png")
    notes = folder.plain_items(str(tmp_path / "ok"), "", 8, 1).notes
    assert notes == (f"passed over in {tmp_path}/ok: 1 in a sub-folder (more)",)


def test_categories_without_normal_images_are_named(bolt):
    _write(bolt.parent / "nut/test/good/0.png")
    (bolt.parent / "papers").mkdir()
    assert folder.incomplete(str(bolt.parent)) == ["nut"]
