"""What holds for every method: one tiny setting each, from training to prediction."""

import csv
import functools
import json
import subprocess
import sys
import textwrap

import conftest
import contract
import jax
import numpy as np
import pytest
from flax import traverse_util

import jax_scadn
from jax_scadn import methods
from jax_scadn.data import images as images_lib
from jax_scadn.data import sources
from jax_scadn.detection import detector, prediction
from jax_scadn.experiments import ablation, comparison, experiment
from jax_scadn.methods import base
from jax_scadn.reports import figures
from jax_scadn.runtime import errors
from jax_scadn.training import loop, protocol

NAMES = list(contract.SUBJECTS)
GRADIENT = [name for name in NAMES if contract.is_trained(name)]
PERFECT = [name for name in NAMES if contract.SUBJECTS[name].perfect]
pytestmark = pytest.mark.slow


def trained(config, folder):
    """Results of the stages by name."""
    (results,) = experiment.train_stages([experiment.CategoryRun(config, folder)])
    return jax.device_get(results)


def steps_of(name, steps):
    """With that many steps in the last stage."""
    budget = methods.create(contract.resolved(name)).stages[-1].budget
    return contract.resolved(name, **{f"{budget}.steps": steps})


@pytest.fixture(scope="module", params=NAMES)
def done(request, tmp_path_factory):
    """A method after `experiment.train`: name, settings, work directory."""
    config = contract.resolved(request.param)
    workdir = tmp_path_factory.mktemp(request.param.replace(" ", "_")) / "run"
    before = loop.train_step._cache_size()
    experiment.train(config, workdir)
    programs = loop.train_step._cache_size() - before
    return request.param, config, workdir, programs


def images_of(config, count):
    return sources.load(config.data, config.seed).test.subset(range(count)).images()


def test_train_evaluate_and_load(done):
    _, config, workdir, programs = done
    method = methods.create(config)
    assert programs <= len(protocol.gradient_stages(method.stages))
    detector = jax_scadn.load(workdir)
    assert detector.method.title == method.title
    assert set(detector.variables) == {base.FROZEN, *(s.name for s in method.stages)}
    table = (workdir / "evaluation/results.md").read_text()
    assert f"| {method.title}" in table
    first = detector.score(images_of(config, 6))
    assert np.isfinite(first.scores).all()
    with_maps = first.maps is not None
    assert (workdir / "evaluation/sheet.png").exists() == with_maps
    detector.save(workdir / "copy")
    again = jax_scadn.load(workdir / "copy").score(images_of(config, 6))
    conftest.assert_trees_equal(again, first)


def test_frozen_networks_are_saved_as_they_were_loaded(done):
    _, config, workdir, _ = done
    frozen = {n: s.load() for n, s in methods.create(config).frozen.items()}
    conftest.assert_trees_equal(jax_scadn.load(workdir).variables[base.FROZEN], frozen)


def test_batches_and_padding_do_not_change_a_score(done):
    """Within 1e-4 of the score: programs of other batch sizes round otherwise."""
    _, config, workdir, _ = done
    detector = jax_scadn.load(workdir)
    images = images_of(config, 11)
    together = detector.score(images).scores  # 8 and 3 + 5
    alone = [detector.score(images[i : i + 1]).scores[0] for i in (0, 7, 10)]
    np.testing.assert_allclose(alone, together[[0, 7, 10]], rtol=1e-4, atol=1e-7)
    padded = detector.score_batch(images[:3], 8).scores
    full = detector.score_batch(images[:8], 8).scores
    np.testing.assert_array_equal(padded, full[:3])


def test_predict_is_score(done, tmp_path):
    _, config, workdir, _ = done
    detector = jax_scadn.load(workdir)
    images = images_of(config, 6)
    for number, image in enumerate(images):
        figures.save(tmp_path / f"{number}.png", images_lib.as_float(image))
    paths = sorted(tmp_path.glob("*.png"))
    assert prediction.predict(detector, paths, tmp_path / "out") == []
    with (tmp_path / "out/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["score"]) for row in rows]
    np.testing.assert_allclose(scores, detector.score(images).scores, rtol=1e-5)
    assert ("scale" in rows[0]) == (detector.method.num_maps > 1)
    with_maps = detector.score(images).maps is not None
    assert ("anomalous_share" in rows[0]) == with_maps
    overlays = list((tmp_path / "out/overlays").glob("*.png"))
    assert len(overlays) == (6 if with_maps else 0)


@pytest.mark.parametrize("name", GRADIENT)
def test_two_steps_and_two_more_equal_four_and_so_does_a_kill(name, tmp_path):
    """Bit for bit. The kill comes at the third step of the first stage."""
    whole = trained(steps_of(name, 4), tmp_path / "whole")
    trained(steps_of(name, 2), tmp_path / "parts")
    parts = trained(steps_of(name, 4), tmp_path / "parts")
    conftest.assert_trees_equal(parts, whole)
    next_batch = loop.Run.next_batch

    def killed(run):
        if run.step == 2:
            raise KeyboardInterrupt
        return next_batch(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Run, "next_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(steps_of(name, 4), tmp_path / "killed")
    conftest.assert_trees_equal(trained(steps_of(name, 4), tmp_path / "killed"), whole)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in GRADIENT])
def test_a_solution_is_the_same_each_time(name, tmp_path):
    first = trained(contract.resolved(name), tmp_path / "first")
    conftest.assert_trees_equal(
        trained(contract.resolved(name), tmp_path / "again"), first
    )


def test_a_stage_does_not_resume_on_other_results_of_earlier_ones(tmp_path):
    trained(contract.resolved("utad"), tmp_path)
    longer = contract.resolved("utad", steps=5)
    with pytest.raises(errors.UserError, match="delete it to train this stage again"):
        trained(longer, tmp_path)


@pytest.mark.parametrize("name", GRADIENT)
def test_two_variants_in_a_step_train_as_each_alone(name, tmp_path):
    """Two steps, in which rounding does not grow yet."""
    configs = [contract.resolved(name, steps=2) for _ in range(2)]
    configs[1].seed = 1
    runs = [
        experiment.CategoryRun(config, tmp_path / f"together_{n}")
        for n, config in enumerate(configs)
    ]
    together = jax.device_get(experiment.train_stages(runs))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-5)
    for n, config in enumerate(configs):
        jax.tree.map(close, together[n], trained(config, tmp_path / f"alone_{n}"))


@pytest.mark.parametrize("name", PERFECT)
def test_a_perfect_reconstruction_scores_zero(name, monkeypatch, tmp_path):
    config = contract.resolved(name)
    images = sources.load(config.data, config.seed).train.subset(range(4)).images()
    as_float = images_lib.as_float(images)
    contract.SUBJECTS[name].perfect(monkeypatch, as_float)
    method = methods.create(config)
    variables = {n: s.load() for n, s in method.frozen.items()}
    variables = {base.FROZEN: variables}
    if name in GRADIENT:
        for stage in method.stages:
            init = jax.jit(functools.partial(loop.init, stage))
            state = init(0, protocol.Context({}, variables), {})
            variables[stage.name] = stage.result(state)
    else:
        variables |= trained(config, tmp_path)
    maps = jax.jit(method.maps)(variables, as_float)
    statistics = {}
    if base.summarises(method):
        statistics = method.calibrate(np.zeros((1, method.num_maps)))
    result = method.select(statistics, maps)
    # Distances by products of large features round to about 1e-3 of them.
    tolerance = 0.05 if name == "patch_memory" else 1e-10
    np.testing.assert_allclose(result.scores, 0, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_programs_lower_for_cuda(name):
    config = contract.resolved(name)
    method = methods.create(config)
    batch = {
        "image": jax.ShapeDtypeStruct((4, contract.SIZE, contract.SIZE, 1), np.uint8)
    }
    earlier, frozen = {}, {n: s.load() for n, s in method.frozen.items()}
    for stage in method.stages:
        context = protocol.Context(frozen, earlier)
        if protocol.is_closed_form(stage):
            earlier[stage.name] = contract.SUBJECTS[name].solution[stage.name]
            continue
        state = jax.eval_shape(functools.partial(loop.init, stage), 0, context, {})
        hyper = stage.hyperparameters(config, 4)
        step = functools.partial(loop.update, stage)
        lower(step, state, hyper, context, np.uint32(0), batch)
        earlier[stage.name] = jax.eval_shape(stage.result, state)
    images = jax.ShapeDtypeStruct((4, contract.SIZE, contract.SIZE, 1), np.float32)
    lower(method.maps, {base.FROZEN: frozen, **earlier}, images)


def lower(function, *arguments):
    exported = jax.export.export(jax.jit(function), platforms=("cuda",))(*arguments)
    assert "custom_call @Eigen" not in exported.mlir_module()


@pytest.mark.parametrize("name", NAMES)
def test_two_variants_are_ablated_and_compared(name, tmp_path):
    config = contract.settings(name)
    sweep = ablation.collect(None, [contract.SUBJECTS[name].sweep], [0])
    assert not ablation.run(config, sweep, (0,), tmp_path, "vmap")
    text = comparison.compare([tmp_path])
    assert all(variant in text for variant in sweep)
    assert methods.create(contract.resolved(name)).title in text


def test_two_encoder_files_are_two_trainings(tmp_path):
    files = [contract.encoder_file(seed) for seed in (0, 1)]
    changes = {f"file_{n}": {"encoder.weights": f} for n, f in enumerate(files)}
    config = contract.settings("patch_memory")
    (trainings,) = ablation.plan(config, changes, (0,), tmp_path)
    assert [len(one.tasks) for one in trainings] == [1, 1]
    assert not ablation.run(config, changes, (0,), tmp_path, "vmap")
    patches = [
        jax_scadn.load(tmp_path / name / "seed_0").variables["memory"]["patches"]
        for name in changes
    ]
    assert np.any(patches[0] != patches[1])
    smoothed = {f"s{n}": {"scoring.smoothing": float(n)} for n in range(2)}
    (trainings,) = ablation.plan(config, smoothed, (0,), tmp_path / "smoothed")
    assert [len(one.tasks) for one in trainings] == [2]


def trained_and_scored(name, folder):
    """Scores, the log's losses and norms, and running statistics."""
    config = contract.resolved(name, steps=3)
    if name == "utad":
        config.expert.training.batch_size = 4
    run = experiment.CategoryRun(config, folder)
    (results,) = experiment.train_stages([run])
    frozen = {n: s.load() for n, s in run.method.frozen.items()}
    scorer = detector.Detector(config, {base.FROZEN: frozen, **results})
    scorer = scorer.calibrated(run.dataset.train, run.dataset.held_out)
    values = {"scores": scorer.score(run.dataset.test.subset(range(6)).images()).scores}
    for log in sorted(folder.rglob("log.jsonl")):
        for line in map(json.loads, log.read_text().splitlines()):
            for metric, value in line.items():
                # SSIM's gradient is noisy where variances are almost 0.
                if "loss" in metric or ("norm" in metric and name != "ae_ssim"):
                    key = f"{log.parent.name} {line['step']} {metric}"
                    values[key.replace("/", " ")] = value
    for path, statistic in traverse_util.flatten_dict(results, sep=" ").items():
        if "batch_stats" in path:
            values[path] = jax.device_get(statistic)
    return values


DEVICES = """
    import os, sys
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    sys.path[:0] = ["tests", "tests/methods"]
    import contract, contract_test, jax, numpy, pathlib

    assert len(jax.devices()) == 4
    folder = pathlib.Path(sys.argv[1])
    for name in contract.SUBJECTS:
        values = contract_test.trained_and_scored(name, folder / name)
        numpy.savez(folder / f"{name}.npz", **values)
"""


def test_four_devices_equal_one(tmp_path):
    """Statistics are those of the full batch, not of a device's shard."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DEVICES), str(tmp_path)],
        cwd=conftest.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-3000:]
    for name in NAMES:
        expected = trained_and_scored(name, tmp_path / "one" / name)
        four = np.load(tmp_path / f"{name}.npz")
        assert set(four) == set(expected)
        for key, value in expected.items():
            rtol, atol = (5e-3, 1e-6) if key == "scores" else (1e-3, 1e-5)
            message = f"{name}: {key}"
            np.testing.assert_allclose(four[key], value, rtol, atol, err_msg=message)
