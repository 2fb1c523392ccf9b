"""A stub detector on a small data set, with results computed by hand."""

import types

import numpy as np
from conftest import tiny

from jax_scadn.data import records
from jax_scadn.detection import calibration
from jax_scadn.reports import figures
from jax_scadn.scoring import merging

# Every image has its own grey value, which identifies it.
MEANS = {  # errors of the three scales
    10: (0.1, 0.2, 0.6),  # good
    20: (0.2, 0.1, 0.6),  # good
    30: (0.7, 0.1, 0.5),  # hole
    40: (0.6, 0.1, 0.6),  # hole
    50: (0.3, 0.9, 0.6),  # stain
}
MU = (0.1, 0.1, 0.6)
# Scales chosen by mean - mu: 1, 0, 0, 0, 1.
SCORES = (0.2, 0.2, 0.7, 0.6, 0.9)
DEFECTS = ("good", "good", "hole", "hole", "stain")


def mask(value):
    """The true mask of an image."""
    marked = np.zeros((32, 32), bool)
    marked[value % 16 :, :8] = True
    return marked


def item(value, defect, with_mask):
    """An image of one grey value."""
    normal = defect == records.GOOD
    return records.Item(
        path=f"test/{defect}/{value}.png",
        label=records.NORMAL if normal else records.ANOMALOUS,
        defect=defect,
        read_image=lambda: np.full((32, 32, 1), value, np.uint8),
        read_mask=(lambda: mask(value)) if with_mask and not normal else None,
    )


def dataset(defects=DEFECTS, masks=(True,) * 5):
    """The images of `MEANS`, without those whose defect is None."""
    test = [
        item(value, *pair)
        for value, *pair in zip(MEANS, defects, masks, strict=True)
        if pair[0]
    ]
    train = [item(value, records.GOOD, False) for value in (12, 18)]
    return records.Dataset(
        category="bolt",
        train=records.Split(train),
        held_out=records.Split([item(15, records.GOOD, False)]),
        test=records.Split(test),
        name="bolts",
    )


class Stub:
    """Detects every anomalous pixel, and scores by `MEANS`."""

    has_embeddings = False

    def __init__(self, threshold=0.5, **settings):
        self.config = tiny(data__size=32, **settings)
        self.method = types.SimpleNamespace(title="SCADN")
        self.statistics = {"mu": MU}
        self.calibration = calibration.Calibration(
            threshold=threshold,
            false_alarm_rate=0.01,
            look_threshold=None,
            look_rate=0.0,
            confidence=0.95,
            map_threshold=0.5,
            pixel_false_alarm_rate=0.25,
            scores=(0.5,),
            held_out=True,
            vmin=0.0,
            vmax=1.0,
        )

    def parameter_counts(self):
        return {"generator": 7}

    def score_split(self, split):
        for index in range(len(split)):
            record = split[index]
            means = np.array(MEANS[int(record.image[0, 0, 0])])
            scale = np.argmax(means - MU)
            detected = np.full((32, 32), record.label == records.ANOMALOUS)
            if record.mask is not None:
                detected = record.mask
            scored = merging.Scored(
                maps=np.float32(detected)[None],
                scores=means[scale][None],
                scales=scale[None],
                scale_means=means[None],
                pictures={
                    "inpainted": np.full((1, 32, 32, 1), record.image[0, 0, 0] / 255)
                },
            )
            yield np.array([index]), scored


def record_figures(monkeypatch):
    """Replaces the figures; returns what would be drawn."""
    drawn = types.SimpleNamespace(rows=[], curves=None, neighbours=None)

    def contact_sheet(rows, vmin, vmax, path):
        assert rows  # the real one refuses an empty sheet
        drawn.rows = rows

    def neighbours_sheet(rows, neighbours, path):
        assert path.name == "neighbours.png"
        greys = [[round(image.max() * 255) for image in row] for row in neighbours]
        drawn.neighbours = {
            row.label: row_greys for row, row_greys in zip(rows, greys, strict=True)
        }

    monkeypatch.setattr(figures, "contact_sheet", contact_sheet)
    monkeypatch.setattr(figures, "neighbours_sheet", neighbours_sheet)
    monkeypatch.setattr(
        figures, "roc_plot", lambda curves, path: setattr(drawn, "curves", curves)
    )
    return drawn
