"""Four forced CPU devices in a separate process: the same training as on one."""

import subprocess
import sys
import textwrap

import conftest
import pytest

ROOT = conftest.ROOT

SCRIPT = """
    import os, sys
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    sys.path.insert(0, "tests")
    import conftest, jax, numpy as np
    import utad_tiny
    from jax_scadn import methods
    from jax_scadn.data import sources
    from jax_scadn.runtime import sharding
    from jax_scadn.training import loop, protocol

    config = utad_tiny.settings(
        impression__training__batch_size=8, expert__training__batch_size=8
    )
    images = sources.load(config.data, 0).train.images()[:8]
    assert len(jax.devices()) == 4

    def trained(stage, context, mesh):
        state = loop.init(stage, 0, context, {})
        hyper = stage.hyperparameters(config)
        state, *constants = sharding.replicate(
            mesh, (state, hyper, context, np.uint32(0))
        )
        batch = sharding.shard_batch(mesh, {"image": images})
        history = []
        for _ in range(3):
            state, metrics = loop.train_step(stage, state, *constants, batch)
            history.append([float(value) for value in metrics.values()])
        return np.array(history), jax.device_get(stage.result(state))

    earlier = {}
    for stage in methods.create(config).stages:
        context = protocol.Context({}, dict(earlier))
        expected, result = trained(stage, context, sharding.mesh(1))
        sharded, same = trained(stage, context, sharding.mesh(8))
        np.testing.assert_allclose(sharded, expected, rtol=1e-3)
        if "batch_stats" in result:  # of the full batch, not of a device's shard
            utad_tiny.assert_trees_close(
                same["batch_stats"], result["batch_stats"], rtol=1e-3, atol=1e-5
            )
        earlier[stage.name] = result
    print("passed")
"""


@pytest.mark.slow
def test_four_devices_train_both_stages_as_one_does():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "passed" in done.stdout
