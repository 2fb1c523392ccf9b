"""Random variables of networks, drawn by NumPy.

Compiling a network's `init` takes longer than the rest of most network tests.
"""

import jax
import jax.numpy as jnp
import numpy as np


def drawn(init, *inputs):
    """Variables with the shapes that `init` gives: He weights, scales about 1."""
    shapes = jax.eval_shape(init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        value = rng.normal(size=leaf.shape)
        if leaf.ndim > 1:
            value *= np.sqrt(2 / np.prod(leaf.shape[:-1]))
        else:
            value = 0.1 * value + (path[-1].key in ("scale", "var"))
        return jnp.asarray(value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)
