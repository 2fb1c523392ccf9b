"""Training steps: compiled once, donated, and without transfers."""

import contextlib

import conftest
import jax
import numpy as np
import pytest
import utad_tiny

from jax_scadn import methods
from jax_scadn.data import sources
from jax_scadn.training import logs, loop, protocol

pytestmark = pytest.mark.jax_version

_COMPILED = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def compilations():
    """A list that grows with each program that is compiled."""
    compiled = []

    def listen(event, *_, **__):
        if event == _COMPILED:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield compiled
    jax.monitoring.unregister_event_duration_listener(listen)


def settings(name):
    """Settings of programs that no other test compiles."""
    if name == "inpainting":
        return conftest.tiny(optimizer__b1=0.25)
    return utad_tiny.settings(impression__momentum=0.25, expert__b1=0.25)


@pytest.fixture(params=["inpainting", "impression", "expert"])
def steps(request):
    """A stage's state and its step on a batch of the host."""
    config = settings(request.param)
    stages = methods.create(config).stages
    stage = {stage.name: stage for stage in stages}[request.param]
    hyper = jax.device_put(stage.hyperparameters(config))
    context = protocol.EMPTY
    if request.param == "expert":
        first = stages[0]
        state = loop.init(first, 0, protocol.EMPTY, {})
        context = protocol.Context({}, {first.name: first.result(state)})
    rng = np.random.default_rng(0)

    def step(state):
        shape = (4, stage.size, stage.size, 1)
        pictures = {"image": rng.integers(0, 256, shape, np.uint8)}
        batch = jax.device_put(pictures)
        with jax.transfer_guard("disallow"):
            return loop.train_step(stage, state, hyper, context, seed, batch)[0]

    seed = jax.device_put(np.uint32(0))
    return loop.init(stage, 0, context, {}), step


def test_compiled_once_donated_and_without_transfers(steps):
    state, step = steps
    counts = []
    for _ in range(4):
        before = state
        with compilations() as compiled:
            state = step(state)
        counts.append(len(compiled))
        leaves = jax.tree_util.tree_leaves_with_path(before)
        kept = [path[-1].key for path, leaf in leaves if not leaf.is_deleted()]
        # The step recomputes v of the spectral norm from u, and does not read it.
        assert set(kept) <= {"v"}
    assert counts[0] >= 1
    assert counts[1:] == [0, 0, 0]


def run_of(workdir, **changes):
    config = conftest.tiny(**changes)
    method = methods.create(config)
    (stage,) = method.stages
    train = sources.load(config.data, 0).train.subset(range(8))
    return loop.Run(config, method, stage, train, protocol.EMPTY, workdir)


def test_losses_are_fetched_after_the_next_step_was_dispatched(tmp_path, monkeypatch):
    run = run_of(tmp_path, training__steps=4, training__checkpoint_every=9)
    happened = []
    dispatch, write = loop.train_step, logs.Writer.write

    def dispatched(*arguments):
        happened.append("step")
        return dispatch(*arguments)

    def written(writer, step, losses):
        happened.append(f"losses of {step}")
        write(writer, step, losses)

    monkeypatch.setattr(loop, "train_step", dispatched)
    monkeypatch.setattr(logs.Writer, "write", written)
    loop.fit([run])
    assert happened == [
        "step",
        "step",
        "losses of 1",
        "step",
        "losses of 2",
        "step",
        "losses of 3",
        "losses of 4",
    ]


def test_no_program_is_compiled_after_the_first_step_of_a_run(tmp_path, monkeypatch):
    run = run_of(tmp_path, training__steps=5, optimizer__b1=0.125)
    counts = []
    step = loop.SingleRun.step

    def counted(single_run):
        counts.append(len(compiled))
        return step(single_run)

    monkeypatch.setattr(loop.SingleRun, "step", counted)
    with compilations() as compiled:
        loop.fit([run])
        counts.append(len(compiled))
    assert counts[1] > counts[0]
    assert counts[1:] == [counts[1]] * 5
