import numpy as np
import pytest

from jax_scadn.data import hold_out

NAMES = [f"train/good/{number:03d}.png" for number in range(400)]


@pytest.mark.parametrize(
    ("share", "count"), [(0.0, 0), (0.001, 1), (0.04, 1), (0.3, 3), (0.999, 9)]
)
def test_by_position_holds_out_the_rounded_share(share, count):
    held = hold_out.by_position(10, share, seed=0)
    assert len(held) == count
    assert list(held) == sorted(set(held))


def test_others_do_not_change_the_side_of_an_image():
    held = {NAMES[i] for i in hold_out.by_name(NAMES[::2], 0.1, seed=3) * 2}
    among_all = {NAMES[i] for i in hold_out.by_name(NAMES, 0.1, seed=3)}
    assert held == among_all & set(NAMES[::2])
    mixed = list(np.random.default_rng(0).permutation(NAMES))
    assert {mixed[i] for i in hold_out.by_name(mixed, 0.1, seed=3)} == among_all


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_by_name_holds_out_about_the_share(share):
    deviation = np.sqrt(400 * share * (1 - share))
    counts = [len(hold_out.by_name(NAMES, share, seed)) for seed in range(20)]
    assert np.all(np.abs(np.array(counts) - 400 * share) < 4 * deviation)
    assert np.mean(counts) == pytest.approx(400 * share, abs=deviation)
    choices = {tuple(hold_out.by_name(NAMES, share, seed)) for seed in range(5)}
    assert len(choices) == 5


def test_by_name_holds_out_one_at_least_and_never_all():
    few = ["a", "b", "c"]
    assert all(len(hold_out.by_name(few, 1e-9, seed)) == 1 for seed in range(9))
    assert all(len(hold_out.by_name(few, 0.999, seed)) == 2 for seed in range(9))
    assert len(hold_out.by_name(few, 0.0, 0)) == 0
    assert len(hold_out.by_name(["a"], 0.9, 0)) == 0


def test_names_that_are_no_unicode_are_drawn():
    names = ["a\udcff.png", "b.png"]
    assert len(hold_out.by_name(names, 0.1, 0)) == 1
