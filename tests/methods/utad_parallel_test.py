"""Four forced CPU devices in a process of its own train as one does."""

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
    from jax_scadn import methods, sharding, training
    from jax_scadn.data import sources

    config = utad_tiny.settings(training__batch_size=8)
    images = sources.load(config.data, 0).train.images()[:8]
    blurred = (images.astype(np.uint16) + np.roll(images, 2, axis=2)) * 128
    assert len(jax.devices()) == 4

    def trained(stage, mesh):
        whole, split = sharding.replicated(mesh), sharding.batch_sharding(mesh)
        hyper = jax.device_put(stage.hyperparameters(config), whole)
        state = jax.device_put(training.init(stage, 0), whole)
        batch = jax.device_put({"image": images, "impression": blurred}, split)
        found = []
        for _ in range(3):
            state, metrics = training.train_step(stage, state, hyper, batch)
            found.append([float(value) for value in metrics.values()])
        return np.array(found), jax.device_get(stage.params(state))

    for stage in methods.create(config).stages:
        alone, params = trained(stage, sharding.mesh(1))
        together, same = trained(stage, sharding.mesh(8))
        np.testing.assert_allclose(together, alone, rtol=1e-3)
        if "batch_stats" in params:  # of the whole batch, not of a device's share
            utad_tiny.assert_trees_close(
                same["batch_stats"], params["batch_stats"], rtol=1e-3, atol=1e-5
            )
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
