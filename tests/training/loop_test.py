import json
import pathlib

import conftest
import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from jax_scadn import methods
from jax_scadn.data import sources
from jax_scadn.losses import distances
from jax_scadn.runtime import errors
from jax_scadn.training import checkpoints, loop, protocol, selection

pytestmark = pytest.mark.jax_version


@pytest.fixture(scope="module")
def train():
    config = conftest.tiny()
    return sources.load(config.data, 0).train.subset(range(12))


def fit(config, train, workdir):
    workdir.mkdir(exist_ok=True)
    (weights,) = loop.fit([run(config, train, workdir)])
    return jax.device_get(weights)


def run(config, train, workdir):
    method = methods.create(config)
    (stage,) = method.stages
    return loop.Run(config, method, stage, train, protocol.EMPTY, workdir)


def logged(workdir):
    lines = (workdir / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_two_steps_and_two_more_equal_four(train, tmp_path):
    uninterrupted = fit(
        conftest.tiny(training__steps=4), train, tmp_path / "uninterrupted"
    )
    resumed = tmp_path / "resumed"
    first = fit(conftest.tiny(training__steps=2), train, resumed)
    second = fit(conftest.tiny(training__steps=4), train, resumed)
    conftest.assert_trees_equal(uninterrupted, second)
    with pytest.raises(AssertionError):
        conftest.assert_trees_equal(first, second)
    losses = [
        [line["generator_loss"] for line in logged(w)]
        for w in (tmp_path / "uninterrupted", resumed)
    ]
    assert losses[0] == losses[1]
    assert [line["step"] for line in logged(resumed)] == [1, 2, 3, 4]


def test_saves_do_not_ask_for_sigterm(config, train, tmp_path, monkeypatch):
    """JAX tells one call, by its number, to stop: it must be one of the loop."""
    calls = []
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", calls.append)
    fit(config, train, tmp_path)
    assert not calls


def test_epochs_count_full_batches():
    config = conftest.tiny(training__epochs=3, training__steps=0)
    assert loop.total_steps(config.training, 11) == 3 * 2


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(train, tmp_path):
    fit(conftest.tiny(training__steps=2), train, tmp_path)
    config = conftest.tiny(training__steps=6)
    config.loss.masked_weight = float("nan")
    failure = fit(config, train, tmp_path)
    assert isinstance(failure, errors.UserError)
    assert "nan at step 3; the last checkpoint is of step 2" in str(failure)
    assert [p.name for p in (tmp_path / "checkpoints" / "last").glob("[0-9]*")] == ["2"]
    assert logged(tmp_path)[-1]["step"] == 2


def test_the_step_compiles_once_and_moves_nothing_to_the_host(train, tmp_path):
    config = conftest.tiny(training__steps=4, seed=3)
    before = loop.train_step._cache_size()
    fit(config, train, tmp_path)  # its transfer guard raises at any implicit transfer
    assert loop.train_step._cache_size() - before <= 1


def test_the_state_is_donated(images):
    config = conftest.tiny()
    (stage,) = methods.create(config).stages
    state = loop.init(stage, 0, protocol.EMPTY, {})
    leaf = state.generator["encoder_0"]["conv"]["kernel"]
    hyper = stage.hyperparameters(config)
    loop.train_step(stage, state, hyper, protocol.EMPTY, 0, {"image": images})
    assert leaf.is_deleted()


def test_the_weights_with_the_lowest_error_are_kept(train, tmp_path, monkeypatch):
    """Errors 3, 1, 2 after epochs 1, 2, 3: the weights of epoch 2 win."""
    config = conftest.tiny(training__steps=9, selection__every_epochs=1)
    given, seen = iter([3.0, 1.0, 2.0]), []

    def error(_, result, context):
        assert context == protocol.EMPTY
        seen.append(jax.device_get(result))
        return next(given)

    monkeypatch.setattr(selection.Selection, "error", error)
    best = fit(config, train, tmp_path)
    assert len(seen) == 3
    conftest.assert_trees_equal(best, seen[1])
    logged_errors = [
        line["selection_error"]
        for line in logged(tmp_path)
        if "selection_error" in line
    ]
    assert logged_errors == [3.0, 1.0, 2.0]


def test_selection_error_is_the_mean_over_all_images_without_padding(train):
    config = conftest.tiny(scoring__images_per_call=5)  # 12 images: 5, 5, 2 + 3
    method = methods.create(config)
    params = loop.init(method.inpainting, 0, protocol.EMPTY, {}).generator
    chosen = selection.Selection(config, method, train, 4)
    ours = chosen.error(params, protocol.EMPTY)
    images = train.images().astype(np.float32) / 255
    candidates = jax.jit(method.candidates, static_argnums=2)
    maps, _ = candidates(params, images, distances.absolute)
    expected = np.mean(np.max(np.mean(np.asarray(maps), axis=(2, 3)), axis=1))
    assert ours == pytest.approx(expected, rel=1e-5)


def test_checkpoints_of_another_net_are_refused_in_one_line(train, tmp_path):
    fit(conftest.tiny(training__steps=2), train, tmp_path)
    with pytest.raises(errors.UserError, match="cannot be restored") as raised:
        fit(conftest.tiny(training__steps=4, model__width=8), train, tmp_path)
    assert "\n" not in str(raised.value)


def test_remains_of_a_killed_save_are_cleaned_up(train, tmp_path):
    fit(conftest.tiny(training__steps=2), train, tmp_path)
    last = tmp_path / "checkpoints" / "last"
    debris = last / "4.orbax-checkpoint-tmp-1"
    debris.mkdir()
    (debris / "half").write_text("written")
    assert checkpoints.Checkpoints(tmp_path / "checkpoints").last_step == 2
    fit(conftest.tiny(training__steps=4), train, tmp_path)
    assert sorted(p.name for p in pathlib.Path(last).iterdir()) == ["4"]
