"""What the tests share: tiny settings, and the data beside the checkout."""

import functools
import gc
import os
import pathlib
import tempfile

# Pytest's processes and those that tests start compile the same small programs over and
# over: they share what was compiled. Set before JAX is imported, which reads it then.
_CACHE = tempfile.TemporaryDirectory(prefix="jax_scadn_tests_")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
# Half of the time is compilation, and small programs are not worth the last passes.
# `optimized` turns them on again where numbers or speed are those of users.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# Python looks through all jaxprs for garbage: a twentieth of the time.
gc.set_threshold(100_000, 50, 100)

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from jax_scadn import methods  # noqa: E402
from jax_scadn.data import lace  # noqa: E402
from jax_scadn.runtime import memory  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")


def _rendered_once(image):
    """Rendering a data set takes a second or two: all tests of a process share it."""

    @functools.cache
    def cached(*key):
        rendered = image(*key)
        rendered.setflags(write=False)
        return rendered

    cached.__wrapped__ = image
    return cached


# Pytest imports this file, and tests do, too: do not wrap what is wrapped.
lace._image = _rendered_once(getattr(lace._image, "__wrapped__", lace._image))


@pytest.fixture(scope="module", autouse=True)
def few_mappings():
    """After a module, frees compiled programs where there are many."""
    yield
    memory.free_programs()


# The smallest size at which the discriminator's last outputs are not smaller than its
# kernels: below it a step takes half as long again to compile.
SIZE = 48

ROOT = pathlib.Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture
def shared():
    """The folder of data and golden tensors; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared beside the checkout")
    return SHARED


@pytest.fixture
def optimized():
    """Programs are compiled as for users."""
    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, False)
    yield
    jax.config.update(name, before)


def tiny(**changes):
    """Resolved settings of a net that trains in a second; `a__b=c` sets a.b."""
    config = methods.default()
    config.name = "tiny"
    config.data.source = "lace"
    config.data.size = SIZE
    config.data.channels = 1
    config.data.threads = 1
    config.model.width = 4
    config.model.blocks = 1
    config.model.discriminator_width = 4
    config.training.batch_size = 4
    config.training.steps = 4
    config.training.log_every = 1
    config.training.picture_every = 0
    config.training.checkpoint_every = 2
    config.scoring.images_per_call = 8
    for field, value in changes.items():
        *sections, name = field.split("__")
        section = config
        for part in sections:
            section = section[part]
        section[name] = value
    return methods.resolve(config)


@pytest.fixture
def config():
    return tiny()


@pytest.fixture
def images():
    """Eight deterministic grey images with structure, (8, SIZE, SIZE, 1) in [0, 1]."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    waves = [np.sin(2 * np.pi * (k * x + (8 - k) * y)) for k in range(8)]
    return (np.stack(waves)[..., None].astype(np.float32) + 1) / 2


def assert_trees_equal(first, second):
    """Bit for bit, leaf by leaf."""
    jax.tree.map(np.testing.assert_array_equal, first, second)
