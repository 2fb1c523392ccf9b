"""Random weights of VGG-19 that the tests share."""

import numpy as np

from jax_scadn.networks.pretrained import vgg19


def random_arrays(seed=0):
    """Weights of VGG-19 that keep the size of the features, by their name."""
    rng = np.random.default_rng(seed)
    arrays, inputs = {}, 3
    for name, channels in vgg19.CONVOLUTIONS.items():
        kernel = rng.normal(0, np.sqrt(2 / (9 * inputs)), (3, 3, inputs, channels))
        arrays[f"{name}/kernel"] = kernel.astype(np.float32)
        arrays[f"{name}/bias"] = rng.normal(0, 0.1, channels).astype(np.float32)
        inputs = channels
    return arrays
