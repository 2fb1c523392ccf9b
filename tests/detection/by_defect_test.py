"""Tables by kind of defect."""

import evaluation_stub
import numpy as np

from jax_scadn.detection import by_defect


def test_maps_shorter_than_float32_have_the_same_metrics():
    bolts = evaluation_stub.dataset()
    truth = by_defect.Truth.of(bolts.test)
    random = np.random.default_rng(0)
    maps = random.random((5, 32, 32)).astype(np.float16)
    scores = np.arange(5.0)
    table = by_defect.table(truth, list(maps), scores, 0.5)
    assert table == by_defect.table(truth, list(maps.astype(np.float32)), scores, 0.5)
    assert list(table) == ["hole", "stain", "all"]


def test_a_defect_may_be_called_all():
    defects = ("good", "good", "all", "all", "stain")
    truth = by_defect.Truth.of(evaluation_stub.dataset(defects).test)
    table = by_defect.table(truth, None, np.arange(5.0), None)
    assert list(table) == ["all (defect)", "stain", "all"]
    assert [values["images"] for values in table.values()] == [2, 1, 5]
    assert table["all"]["pixel"] is None
