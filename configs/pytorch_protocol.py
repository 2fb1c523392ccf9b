"""The short runs that were measured with PyTorch: original widths, few steps.

    python -m jax_scadn.train --config=configs/pytorch_protocol.py:bottle \
        --config.data.path=MVTEC_AD_FOLDER --config.seed=0
    python -m jax_scadn.train --config=configs/pytorch_protocol.py:mnist \
        --config.data.path=MNIST_FOLDER --config.data.category=8

Hardware: 2 CPU cores, about 7 minutes each with JAX 0.12.
Results: docs/results.md. `benchmarks/pytorch_protocol.py` runs all of them.
"""

from jax_scadn import methods


def get_config(data: str = "bottle"):
    """Settings for 'bottle' or 'mnist'."""
    config = methods.default()
    config.name = f"pytorch_protocol/{data}"
    config.data.held_out = 0.0  # the original holds out no images
    config.selection.keep = "last"
    config.training.log_every = 1
    config.training.picture_every = 0
    config.training.checkpoint_every = 200
    if data == "bottle":
        config.data.category = "bottle"
        config.data.size = 64
        config.training.batch_size = 4
        config.training.steps = 400
        config.scoring.images_per_call = 16
    elif data == "mnist":
        config.data.source = "idx"
        config.data.size = 32
        config.data.channels = 1
        config.data.test_normal_limit = 200
        config.data.test_anomalous_limit = 50
        config.calibration.images = 200
        config.training.batch_size = 64
        config.training.steps = 150
        config.scoring.images_per_call = 50
    else:
        raise ValueError(f"no protocol for {data!r}; there are bottle and mnist")
    return config
