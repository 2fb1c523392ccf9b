import pathlib
import shutil

import numpy as np
from PIL import Image

from jax_scadn.data import records


def split(folder):
    return records.Split(
        [
            records.Item(str(path), records.NORMAL, "good", lambda: None)
            for path in sorted(pathlib.Path(folder).rglob("*.png"))
        ]
    )


def test_a_fingerprint_is_of_names_and_sizes_wherever_the_folder_lies(tmp_path):
    for name in ("a/0.png", "a/1.png", "b/0.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(0).integers(0, 256, (9, 9), np.uint8)
        Image.fromarray(image).save(tmp_path / "data" / name)
    before = split(tmp_path / "data").fingerprint()
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere/moved")
    assert split(tmp_path / "elsewhere/moved").fingerprint() == before
    assert split(tmp_path / "data/a").fingerprint() != before
    (tmp_path / "data/b/0.png").rename(tmp_path / "data/b/2.png")
    assert split(tmp_path / "data").fingerprint() != before
    changed = tmp_path / "elsewhere/moved/a/1.png"
    changed.write_bytes(changed.read_bytes() + b"more")
    assert split(tmp_path / "elsewhere").fingerprint() != before


def test_images_that_are_no_files_have_their_names():
    items = [
        records.Item(f"lace/{n}", records.NORMAL, "good", lambda: None)
        for n in range(3)
    ]
    fingerprint = records.Split(items).fingerprint()
    assert records.Split(items[:2]).fingerprint() != fingerprint
    assert records.Split(items).fingerprint() == fingerprint
    assert records.Split([]).fingerprint()
