import dataclasses
import json

import numpy as np
import pytest

from jax_scadn.detection import drift
from jax_scadn.runtime import errors

HELD_OUT = tuple(np.sort(np.random.default_rng(1).normal(size=20)).tolist())


def wealths(held_out, scores):
    state = drift.start(held_out)
    return np.array([state.see(held_out, score) for score in scores])


def p_values(held_out, scores, monkeypatch):
    """Of one bet whose capital after each image is p."""
    monkeypatch.setattr(drift, "BETS", (1.0,))
    monkeypatch.setattr(drift, "JUMP", 0.0)
    before, found = 1.0, []
    for wealth in wealths(held_out, scores):
        found.append(wealth / before - 0.5)
        before = wealth
    return np.array(found)


def test_p_values_by_hand(monkeypatch):
    """Above both of two held-out scores, between them, and below them."""
    first, second, third = p_values((1.0, 2.0), [3.0, 1.5, 0.5], monkeypatch)
    assert 0 < first < 1 / 3  # first of three places
    assert 2 / 4 < second < 3 / 4  # of four places two are above the gap
    assert 4 / 5 < third < 1


def test_p_values_of_exchangeable_scores_are_uniform_and_independent(monkeypatch):
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(300):
        draws = rng.normal(size=20)
        held_out = tuple(np.sort(draws[:8]).tolist())
        rows.append(p_values(held_out, draws[8:], monkeypatch))
    rows = np.array(rows)
    for t in (0.1, 0.5, 0.9):
        interval = 3.3 * np.sqrt(t * (1 - t) / rows.size)
        assert abs(np.mean(rows <= t) - t) < interval
    correlations = np.corrcoef(rows.T)[np.triu_indices(12, 1)]
    assert np.max(np.abs(correlations)) < 4 / np.sqrt(300)


def test_false_alarms_ever_are_as_rare_as_promised():
    """The wealth reaches 10 in a tenth of the sequences at most."""
    rng = np.random.default_rng(0)
    reached = []
    for _ in range(300):
        draws = rng.normal(size=170)
        held_out = tuple(np.sort(draws[:20]).tolist())
        reached.append(wealths(held_out, draws[20:]).max() >= 10)
    assert np.mean(reached) < 0.1 + 3.3 * np.sqrt(0.1 * 0.9 / 300)


@pytest.mark.parametrize("shift", [1.5, -1.5])
def test_scores_that_rise_or_fall_are_an_alarm_soon(shift):
    scores = np.random.default_rng(0).normal(size=200)
    scores[100:] += shift
    found = wealths(HELD_OUT, scores)
    assert found[:100].max() < drift.ALARM
    assert 100 < np.argmax(found >= drift.ALARM) < 160


def test_parts_are_the_whole(tmp_path):
    scores = np.random.default_rng(0).normal(size=12)
    whole = drift.start(HELD_OUT)
    for score in scores:
        whole.see(HELD_OUT, score)
    path = tmp_path / "drift.json"
    for part in (scores[:5], scores[5:]):
        state = drift.load(path, HELD_OUT)
        for score in part:
            state.see(HELD_OUT, score)
        drift.save(path, state)
    assert drift.load(path, HELD_OUT) == whole
    assert whole.images == 12


def test_equal_scores_have_any_order():
    held_out = (1.0,) * 20
    assert wealths(held_out, [1.0] * 200).max() < 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "0" * 64}, "belongs to another detector"),
        ({"gaps": [0]}, "belongs to another detector"),
        ({"capital": [float("nan")] * 5}, "is not a file of --drift"),
        ({"capital": [1.0]}, "is not a file of --drift"),
        ({"gaps": 3}, "is not a file of --drift"),
    ],
)
def test_other_files_are_refused(tmp_path, changes, message):
    path = tmp_path / "drift.json"
    values = dataclasses.asdict(drift.start(HELD_OUT)) | changes
    path.write_text(json.dumps(values))
    with pytest.raises(errors.UserError, match=message) as raised:
        drift.load(path, HELD_OUT)
    assert "\n" not in str(raised.value)
    path.write_bytes(b"\xff{")
    with pytest.raises(errors.UserError, match="is not a file of --drift"):
        drift.load(path, HELD_OUT)
