import dataclasses
import functools
import json
import re

import conftest
import jax
import numpy as np
import pytest

from jax_scadn import methods
from jax_scadn.data import sources
from jax_scadn.methods.scadn import inpainting
from jax_scadn.runtime import errors, sharding
from jax_scadn.settings import resolve
from jax_scadn.training import loop, protocol, vectorized

pytestmark = pytest.mark.jax_version

SWEEP = {
    "no_adversarial": {"loss.adversarial_weight": 0.0},
    "S1": {"masks.stripe_pairs": (2,)},
    "black": {"masks.mask_value": 0.0, "optimizer.learning_rate": 5e-5},
}


def logged(workdir, metric="generator_loss"):
    lines = map(json.loads, (workdir / "log.jsonl").read_text().splitlines())
    return np.array([line[metric] for line in lines])


@pytest.fixture(scope="module")
def train():
    return sources.load(conftest.tiny().data, 0).train.subset(range(12))


def run_of(config, train, folder):
    folder.mkdir(parents=True, exist_ok=True)
    method = methods.create(config)
    (stage,) = method.stages
    return loop.Run(config, method, stage, train, protocol.EMPTY, folder)


def configs(steps):
    found = {}
    for seed, (name, changes) in enumerate(SWEEP.items()):
        # With its usual eps, Adam without momentum moves weights whose gradient is
        # almost 0 by the sign of a rounding error, and two trainings part.
        config = conftest.tiny(
            training__steps=steps,
            training__batch_size=2,
            seed=seed,
            optimizer__eps=1e-2,
        )
        config.unlock()
        for field, value in changes.items():
            resolve.put(config, field, value)
        found[name] = methods.resolve(config)
    return found


@dataclasses.dataclass
class Case:
    """One variant without files: what `train_step` takes, as NumPy arrays."""

    stage: inpainting.InpaintingStage
    state: inpainting.State
    hyper: inpainting.Hyperparameters
    seed: np.uint32
    batches: list[dict[str, np.ndarray]]


def cases(configs, train, folder, dtype="float32"):
    """The variants, with as many masks each as the one with the most has."""
    runs = [run_of(config, train, folder) for config in configs.values()]
    states = [loop.init(run.stage, run.seed, protocol.EMPTY, {}) for run in runs]
    start = vectorized.stack(
        [(s, run.hyper) for s, run in zip(states, runs, strict=True)]
    )

    def of(number, run):
        def cast(leaf):
            floating = np.issubdtype(leaf.dtype, np.floating)
            return leaf[number].astype(dtype if floating else leaf.dtype)

        state, hyper = jax.tree.map(cast, start)
        batches = [run.next_batch() for _ in range(run.steps)]
        stage = dataclasses.replace(run.stage, dtype=dtype)
        return Case(stage, state, hyper, run.seed, batches)

    return [of(number, run) for number, run in enumerate(runs)]


def trained_alone(case):
    """The metrics of each step by name, (steps,), and the last state."""
    state, history = jax.device_put(case.state), []
    for batch in case.batches:
        state, metrics = loop.train_step(
            case.stage, state, case.hyper, protocol.EMPTY, case.seed, batch
        )
        history.append(metrics)
    return vectorized.stack(history), jax.device_get(state)


def trained_together(cases):
    """The same for each of the variants, out of one stack."""
    mesh, count = sharding.variant_mesh(len(cases))
    assert count == len(cases)
    states = jax.device_put(vectorized.stack([case.state for case in cases]))
    hypers = vectorized.stack([case.hyper for case in cases])
    seeds = vectorized.stack([case.seed for case in cases])
    active = np.ones(count, bool)
    history = []
    for batches in zip(*(case.batches for case in cases), strict=True):
        states, metrics = vectorized.train_steps(
            cases[0].stage,
            mesh,
            states,
            hypers,
            {},
            {},
            seeds,
            vectorized.stack(batches),
            active,
        )
        history.append(metrics)
    history, states = vectorized.stack(history), jax.device_get(states)

    def of(number):
        return jax.tree.map(lambda x: x[:, number], history), jax.tree.map(
            lambda x: x[number], states
        )

    return [of(number) for number in range(count)]


@pytest.mark.usefixtures("optimized")
def test_in_float64_each_variant_trains_as_it_does_alone(train, tmp_path):
    """Twenty steps in which masks, weights, rates and seeds differ.

    In float32 a ReLU whose input is within rounding of 0 may be on in one program and
    off in the other, and from there the trainings part.
    """
    with jax.enable_x64(True):
        chosen = cases(configs(20), train, tmp_path, "float64")
        for (metrics, state), one in zip(trained_together(chosen), chosen, strict=True):
            expected_metrics, expected_state = trained_alone(one)
            assert metrics["generator_loss"].dtype == np.float64
            jax.tree.map(
                functools.partial(np.testing.assert_allclose, rtol=1e-9),
                metrics,
                expected_metrics,
            )
            jax.tree.map(
                functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12),
                state,
                expected_state,
            )


def test_a_variants_bits_do_not_depend_on_the_others(train, tmp_path):
    """In a stack of the same length, at the same place in it."""
    chosen = cases(configs(6), train, tmp_path)
    expected = trained_together(chosen)
    for place, one in enumerate(chosen):
        others = [chosen[place - 1]] * len(chosen)
        others[place] = one
        conftest.assert_trees_equal(trained_together(others)[place], expected[place])


def test_the_first_steps_are_those_of_a_variant_alone(train, tmp_path):
    """With checkpoints and logs, where one variant has fewer steps than the others."""
    wanted = configs(4)
    wanted["black"].training.steps = 3
    for name, config in wanted.items():
        loop.fit([run_of(config, train, tmp_path / "alone" / name)])
    runs = [run_of(wanted[name], train, tmp_path / name) for name in wanted]
    assert len(loop.fit(runs, vectorized.VectorizedRuns)) == len(wanted)
    for name, config in wanted.items():
        for metric in ("generator_loss", "generator_gradient_norm"):
            alone = logged(tmp_path / "alone" / name, metric)
            ours = logged(tmp_path / name, metric)
            assert len(ours) == len(alone) == config.training.steps
            np.testing.assert_allclose(ours[:2], alone[:2], rtol=1e-5)


def test_a_stacked_run_goes_on_where_it_was_stopped(train, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder, steps in ((whole, (6,)), (parts, (2, 6))):
        for count in steps:
            chosen = configs(count)
            runs = [run_of(c, train, folder / name) for name, c in chosen.items()]
            weights = loop.fit(runs, vectorized.VectorizedRuns)
        if folder == whole:
            expected = jax.device_get(weights)
    conftest.assert_trees_equal(jax.device_get(weights), expected)
    for name in SWEEP:
        np.testing.assert_array_equal(logged(whole / name), logged(parts / name))


def test_a_variant_that_diverges_stops_alone(train, tmp_path):
    chosen = configs(6)
    chosen["S1"].loss.masked_weight = float("nan")
    runs = [run_of(c, train, tmp_path / name) for name, c in chosen.items()]
    first, second, third = loop.fit(runs, vectorized.VectorizedRuns)
    assert isinstance(second, errors.UserError)
    assert "nan at step 1" in str(second)
    expected = configs(6)
    runs = [run_of(c, train, tmp_path / "well" / name) for name, c in expected.items()]
    well = loop.fit(runs, vectorized.VectorizedRuns)
    conftest.assert_trees_equal(
        jax.device_get([first, third]), jax.device_get(well[::2])
    )


def test_the_stacked_step_compiles_once(train, tmp_path, caplog):
    jax.clear_caches()  # of other tests, which compile the same
    runs = [run_of(c, train, tmp_path / name) for name, c in configs(5).items()]
    with jax.log_compiles():
        loop.fit(runs, vectorized.VectorizedRuns)
    messages = [record.getMessage() for record in caplog.records]
    compiled = [m for m in messages if re.match(r"Compiling .*\btrain_steps\b", m)]
    assert len(compiled) == 1


def test_memory_decides_how_many_fit(train, tmp_path, monkeypatch):
    run = run_of(conftest.tiny(), train, tmp_path)

    class Device:
        def __init__(self, memory):
            self.memory = memory

        def memory_stats(self):
            return self.memory

    def fitting(memory, devices):
        monkeypatch.setattr(jax, "local_devices", lambda: [Device(memory)] * devices)
        return vectorized.fitting(run)

    assert fitting(None, 1) == 0
    assert fitting({"bytes_limit": 1}, 3) == 3  # one on each device
    assert fitting({"bytes_limit": 10**9}, 4) > 40
