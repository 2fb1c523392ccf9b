"""Sharing of trainings by an ablation's variants, as the settings declare it."""

import sys
import types

import pytest
from conftest import tiny

from jax_scadn import methods
from jax_scadn.experiments import ablation
from jax_scadn.settings import resolve
from jax_scadn.settings.fields import Field


def count_trainings(config, workdir, field, *values):
    changes = {f"v{n}": {field: value} for n, value in enumerate(values)}
    (trainings,) = ablation.plan(config, changes, (0,), workdir)
    assert sum(len(one.tasks) for one in trainings) == len(values)
    return len(trainings)


@pytest.mark.parametrize(
    ("field", "values", "trainings"),
    [
        ("vgg_weights", ("a.npz", "b.npz"), 1),  # seen by scoring
        ("scoring.merge", ("max", "mean"), 1),
        ("calibration.images", (0, 3), 1),
        ("data.test_normal_limit", (0, 3), 1),
        ("data.threads", (1, 2), 1),
        ("training.log_every", (1, 2), 1),
        ("training.steps", (4, 6), 2),  # although it may change when a run resumes
        ("data.path", ("a", "b"), 2),
        ("data.held_out", (0.1, 0.2), 2),
        ("loss.adversarial_weight", (0.0, 0.1), 2),
    ],
)
def test_variants_that_differ_outside_training_share_it(
    tmp_path, field, values, trainings
):
    assert count_trainings(tiny(), tmp_path, field, *values) == trainings


def test_two_encoder_files_are_two_trainings(tmp_path):
    config = methods.default("patch_memory")
    config.data.source = "lace"
    weights = ("a.pth", "b.pth")
    assert count_trainings(config, tmp_path, "encoder.weights", *weights) == 2


def test_a_method_that_trains_with_frozen_weights_declares_it(tmp_path, monkeypatch):
    weights = Field("", "file of the teacher's weights")
    own = types.SimpleNamespace(FIELDS={"vgg_weights": weights}, Method=object)
    monkeypatch.setitem(sys.modules, "my", types.ModuleType("my"))
    monkeypatch.setitem(sys.modules, "my.method", own)
    config = methods.default("my.method")
    resolve.put(config, "data.source", "lace")
    assert count_trainings(config, tmp_path, "vgg_weights", "a.npz", "b.npz") == 2
