"""Four forced CPU devices in a separate process: equal results, a quarter each."""

import subprocess
import sys
import textwrap

import conftest
import pytest

ROOT = conftest.ROOT

SCRIPT = """
    import os, re, sys
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    sys.path.insert(0, "tests")
    import conftest, jax, numpy as np
    from jax_scadn import methods, sharding, detector, training, variants
    from jax_scadn.data import sources

    # All masks in one call: the cost of a loop is counted as that of one round.
    config = conftest.tiny(training__batch_size=8, scoring__masks_per_call=12)
    method = methods.create(config)
    (stage,) = method.stages
    hyper = stage.hyperparameters(config)
    images = sources.load(config.data, 0).train.images()[:8]
    assert len(jax.devices()) == 4

    def losses(mesh):
        whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
        state = jax.device_put(training.init(stage, 0), whole)
        found = []
        for _ in range(5):
            batch = jax.device_put({"image": images}, split)
            state, metrics = training.train_step(
                stage, state, jax.device_put(hyper, whole), batch)
            found.append([float(v) for v in metrics.values()])
        return np.array(found), state

    one = sharding.mesh(1)
    four = sharding.mesh(8)
    assert (one.size, four.size) == (1, 4)
    alone, state = losses(one)
    together, _ = losses(four)
    np.testing.assert_allclose(together, alone, rtol=1e-3)

    # The same step with weights and moments split over the devices, too.
    def split_where_possible(x):
        axis = next((i for i, n in enumerate(x.shape) if n % 4 == 0), None)
        names = [] if axis is None else [None] * axis + [sharding.BATCH]
        spec = jax.sharding.PartitionSpec(*names)
        return jax.device_put(x, jax.sharding.NamedSharding(four, spec))

    pieces = jax.tree.map(split_where_possible, training.init(stage, 0))
    held = sum(x.addressable_data(0).nbytes for x in jax.tree.leaves(pieces))
    assert held < 0.4 * sum(x.nbytes for x in jax.tree.leaves(pieces))
    batch = sharding.shard_batch(four, {"image": images})
    whole_hyper = sharding.replicate(four, hyper)
    for step in range(5):
        pieces, metrics = training.train_step(stage, pieces, whole_hyper, batch)
        found = [float(v) for v in metrics.values()]
        np.testing.assert_allclose(found, alone[step], rtol=1e-3)

    trained = {"": jax.device_get(state.generator)}
    params = method.inference_params(trained, {})
    mu = np.zeros(3, np.float32)

    def compiled(mesh, images):
        whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
        arguments = (jax.device_put(params, whole), jax.device_put(mu, whole),
                     jax.device_put(images, split))
        program = detector._score.lower(method, mesh, *arguments).compile()
        return program, program(*arguments)

    # Many images are split; the masks of one image are.
    for count, shape in ((8, (4, 1)), (2, (2, 2)), (1, (1, 4))):
        mesh, size = sharding.scoring_mesh(count, method.shares)
        assert mesh.devices.shape == shape and size == count
        program_1, scored_1 = compiled(one, images[:count])
        program_4, scored_4 = compiled(mesh, images[:count])
        assert not re.search("all-gather|all-to-all", program_4.as_text())
        assert bool(re.search("all-reduce", program_4.as_text())) == (shape[1] > 1)
        share = program_4.cost_analysis()["flops"] / program_1.cost_analysis()["flops"]
        print(count, "images:", share, "of the FLOPs of one device on each of four")
        assert 0.24 < share < 0.27, share
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            scored_4, scored_1)

    # Five variants on four devices: two each, three of them copies that rest.
    mesh, count = sharding.variant_mesh(5)
    assert (mesh.size, count) == (4, 8)
    mine = sharding.batch_sharding(mesh)
    stack = lambda trees: jax.device_put(
        jax.tree.map(lambda *x: np.stack(x), *jax.device_get(trees)), mine)
    states = [training.init(stage, seed % 5) for seed in range(8)]
    batches = stack([{"image": images}] * 8)
    active = jax.device_put(np.arange(8) < 5, mine)
    arguments = (stage, mesh, stack(states), stack([hyper] * 8), batches, active)
    program = variants.train_steps.lower(*arguments).compile()
    assert not re.search("all-gather|all-reduce|all-to-all", program.as_text())
    states, found = variants.train_steps(*arguments)
    np.testing.assert_array_equal(states.step, [1] * 5 + [0] * 3)
    for seed in (0, 4):
        state = training.init(stage, seed)
        _, expected = training.train_step(stage, state, hyper, {"image": images})
        for name in expected:
            np.testing.assert_allclose(found[name][seed], expected[name], rtol=1e-4)
    print("passed")
"""


@pytest.mark.slow
def test_four_devices_agree_with_one_and_share_the_work():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    assert "passed" in done.stdout
