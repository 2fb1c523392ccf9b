import json

import conftest
import jax
import numpy as np
import pytest

from jax_scadn import (
    ablation,
    configuration,
    errors,
    experiment,
    methods,
    training,
    variants,
)
from jax_scadn.data import sources

SWEEP = {
    "no_adversarial": {"loss.adversarial_weight": 0.0},
    "S1": {"masks.stripe_pairs": (2,)},
    "black": {"masks.fill": 0.0, "optimizer.learning_rate": 5e-5},
}


def losses(workdir):
    lines = map(json.loads, (workdir / "log.jsonl").read_text().splitlines())
    return np.array([line["generator_loss"] for line in lines])


@pytest.fixture(scope="module")
def train():
    return sources.load(conftest.tiny().data, 0).train.subset(range(12))


def run_of(config, train, folder):
    folder.mkdir(parents=True, exist_ok=True)
    method = methods.create(config)
    (stage,) = method.stages
    source = stage.source(config, train, {}, folder)
    return training.Run(config, method, stage, source, train, folder)


def configs(steps):
    found = {}
    for seed, (name, changes) in enumerate(SWEEP.items()):
        # With its usual eps, Adam without momentum moves weights whose gradient is
        # almost 0 by the sign of a rounding error, and two trainings part.
        config = conftest.tiny(training__steps=steps, seed=seed, optimizer__eps=1e-2)
        config.unlock()
        for field, value in changes.items():
            configuration.put(config, field, value)
        found[name] = configuration.resolve(config)
    return found


def test_each_variant_trains_as_it_does_alone(train, tmp_path):
    """Twenty steps; masks, weights, rates and seeds differ, one has fewer steps."""
    wanted = configs(20)
    wanted["black"].training.steps = 13
    for name, config in wanted.items():
        training.fit([run_of(config, train, tmp_path / "alone" / name)])
    for chosen in (("no_adversarial", "S1", "black"), ("black", "S1")):
        folder = tmp_path / str(len(chosen))
        runs = [run_of(wanted[name], train, folder / name) for name in chosen]
        weights = training.fit(runs, variants.Stacked)
        assert len(weights) == len(chosen)
        for name in chosen:
            alone = losses(tmp_path / "alone" / name)
            assert len(alone) == wanted[name].training.steps
            np.testing.assert_allclose(losses(folder / name), alone, rtol=1e-4)


def test_a_stacked_run_goes_on_where_it_was_stopped(train, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder, steps in ((whole, (6,)), (parts, (2, 6))):
        for count in steps:
            chosen = configs(count)
            runs = [run_of(c, train, folder / name) for name, c in chosen.items()]
            weights = training.fit(runs, variants.Stacked)
        if folder == whole:
            expected = jax.device_get(weights)
    conftest.assert_trees_equal(jax.device_get(weights), expected)
    for name in SWEEP:
        np.testing.assert_array_equal(losses(whole / name), losses(parts / name))


def test_a_variant_that_diverges_stops_alone(train, tmp_path):
    chosen = configs(6)
    chosen["S1"].loss.removed_weight = float("nan")
    runs = [run_of(c, train, tmp_path / name) for name, c in chosen.items()]
    first, second, third = training.fit(runs, variants.Stacked)
    assert isinstance(second, errors.UserError)
    assert "nan at step 1" in str(second)
    expected = configs(6)
    runs = [run_of(c, train, tmp_path / "well" / name) for name, c in expected.items()]
    well = training.fit(runs, variants.Stacked)
    conftest.assert_trees_equal(
        jax.device_get([first, third]), jax.device_get(well[::2])
    )


def test_the_stacked_step_compiles_once(train, tmp_path):
    before = variants.train_steps._cache_size()
    runs = [run_of(c, train, tmp_path / name) for name, c in configs(5).items()]
    training.fit(runs, variants.Stacked)
    assert variants.train_steps._cache_size() - before <= 1


def test_memory_decides_how_many_fit(monkeypatch):
    config = conftest.tiny()
    (stage,) = methods.create(config).stages

    class Device:
        def __init__(self, memory):
            self.memory = memory

        def memory_stats(self):
            return self.memory

    def fitting(memory, devices):
        monkeypatch.setattr(jax, "local_devices", lambda: [Device(memory)] * devices)
        return variants.fitting(stage, config)

    assert fitting(None, 1) == 0
    assert fitting({"bytes_limit": 1}, 3) == 3  # one on each device
    assert fitting({"bytes_limit": 10**9}, 4) > 40


def test_variants_come_from_the_settings_file_and_the_command_line():
    def sweep(add):
        add("a", {"seed": 3})
        add("b", {})

    assert ablation.collect(sweep, [], [0]) == {"a": {"seed": 3}, "b": {}}
    options = ["model.width=8,16", "loss.gan=hinge,lsgan"]
    assert ablation.collect(None, [], [0, 1]) == {"base": {}}
    assert list(ablation.collect(None, options, [0])) == [
        "model.width=8,loss.gan=hinge",
        "model.width=8,loss.gan=lsgan",
        "model.width=16,loss.gan=hinge",
        "model.width=16,loss.gan=lsgan",
    ]
    both = ablation.collect(sweep, ["masks.stripe_pairs=(2,),(2,4)"], [0])
    assert both["a,masks.stripe_pairs=(2,4)"] == {
        "seed": 3,
        "masks.stripe_pairs": (2, 4),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to vary"),
        (["model.width"], "give FIELD=VALUE,VALUE"),
        (["model.width="], "give FIELD=VALUE,VALUE"),
    ],
)
def test_a_wrong_sweep_is_refused(options, message):
    with pytest.raises(errors.UserError, match=message):
        ablation.collect(None, options, [0])


def test_two_variants_of_one_name_are_refused():
    def sweep(add):
        add("a", {})
        add("a", {"seed": 1})

    with pytest.raises(errors.UserError, match="two variants named 'a'"):
        ablation.collect(sweep, [], [0])


CHANGES = {
    "S1": {"masks.stripe_pairs": (2,)},
    "narrow": {"model.width": 6},
    "mean": {"scoring.merge": "mean"},
    "full": {},
}


@pytest.fixture(scope="module", params=ablation.BATCHING)
def done(request, tmp_path_factory):
    workdir = tmp_path_factory.mktemp(request.param)
    config = conftest.tiny(calibration__images=8, data__test_anomalous_limit=4)
    failed = ablation.run(config, CHANGES, (0, 1), workdir, request.param, 2)
    assert not failed
    return config, workdir, request.param


def test_every_variant_is_a_model_of_its_own(done):
    _, workdir, _ = done
    for name in CHANGES:
        for seed in (0, 1):
            folder = workdir / name / f"seed_{seed}"
            assert experiment.is_finished(folder)
            assert configuration.read(folder / "config.json").seed == seed
    # What differs in scoring only shares one training.
    kept = sorted(
        str(p.parent.relative_to(workdir)) for p in workdir.glob("*/*/log.jsonl")
    )
    assert [name for name in kept if "seed_0" in name] == [
        "S1/seed_0",
        "mean/seed_0",
        "narrow/seed_0",
    ]
    noted = json.loads((workdir / ablation.FILE).read_text())
    assert list(noted["variants"]) == list(CHANGES)
    assert noted["seeds"] == [0, 1]


def test_the_same_call_does_nothing_again_and_more_seeds_are_added(done, capsys):
    config, workdir, batching = done
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("results.json")}
    assert not ablation.run(config, CHANGES, (0, 1), workdir, batching)
    assert "8 of 8 variants are finished" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("results.json")} == before
    with pytest.raises(errors.UserError, match="another variant 'full'"):
        ablation.run(config, {"full": {"seed": 5}}, (0,), workdir, batching)


def test_an_unknown_field_names_the_variant(tmp_path):
    with pytest.raises(errors.UserError, match="variant 'a' sets model"):
        ablation.run(conftest.tiny(), {"a": {"model.wide": 3}}, (0,), tmp_path)
