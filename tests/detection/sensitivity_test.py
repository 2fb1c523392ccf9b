import json
import types

import numpy as np
import pytest

from jax_scadn.data import records
from jax_scadn.detection import sensitivity
from jax_scadn.runtime import errors


class Brightness:
    """Scores by the largest difference to grey; maps are that difference."""

    def __init__(self, threshold):
        self.calibration = types.SimpleNamespace(
            threshold=threshold, map_threshold=0.1, vmin=0.0, vmax=0.5
        )

    def score(self, images):
        maps = np.abs(images - 0.5).mean(axis=-1)
        return types.SimpleNamespace(
            scores=maps.max(axis=(1, 2)), maps=maps, pictures={}
        )


def grey(count=3):
    image = np.full((32, 32, 3), 128, np.uint8)
    item = records.Item("grey", records.NORMAL, records.GOOD, lambda: image)
    return records.Split([item] * count)


def test_bounds_by_hand():
    """All of n found: the rate is at least 0.05^(1 / n); none: 0."""
    cell = sensitivity.Cell("stain", 1.0, 4.0, 29, 29)
    assert cell.at_least == pytest.approx(0.05 ** (1 / 29))
    assert sensitivity.Cell("stain", 1.0, 4.0, 0, 9).at_least == 0


def test_the_smallest_size_found_has_only_found_ones_above_it():
    def cells(*found):
        return [
            sensitivity.Cell("stain", 1.0, size, n, 40)
            for size, n in enumerate(found, 1)
        ]

    assert sensitivity.smallest_found(cells(0, 40, 30, 40, 40)) == 4
    assert sensitivity.smallest_found(cells(40, 40)) == 1
    assert sensitivity.smallest_found(cells(40, 0)) is None
    # Of 40 found 39: at least 0.886, below 0.9.
    assert sensitivity.smallest_found(cells(39, 40)) == 2


def test_what_is_above_the_contrast_is_found(tmp_path):
    detector = Brightness(threshold=0.2)
    cells = sensitivity.measure(detector, grey(), (0.2, 0.4), (0.1, 0.4), 30, seed=0)
    shares = {
        (cell.contrast, cell.size): cell.share
        for cell in cells
        if cell.kind in ("stain", "scratch")
    }
    assert set(shares) == {(c, s * 32) for c in (0.1, 0.4) for s in (0.2, 0.4)}
    assert all(share == (contrast == 0.4) for (contrast, _), share in shares.items())
    rows = sensitivity.write(cells, 32, tmp_path)
    stain = [row for row in rows if row["defect"] == "stain"]
    assert [row["found from"] for row in stain] == ["-", "6.4 px"]
    saved = json.loads((tmp_path / "sensitivity.json").read_text())
    assert len(saved["cells"]) == 16
    sensitivity.sheet(detector, grey(), cells, 0, tmp_path / "sheet.png")
    for name in ("sensitivity.png", "sheet.png", "sensitivity.md", "sensitivity.csv"):
        assert (tmp_path / name).stat().st_size > 0


def test_without_held_out_images_is_one_line():
    with pytest.raises(errors.UserError, match="no held-out good images"):
        sensitivity.measure(Brightness(0.2), grey(0), (0.1,), (0.1,), 1, 0)
