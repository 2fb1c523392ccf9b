"""Per-pixel image distances (UTAD, Table 3)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jax_scadn.networks.pretrained import vgg19, vgg19_weights

VGG19 = "vgg19"  # name among frozen networks

Params = Any

# SSIM's window and constants (Wang et al. 2004), for values in [0, 1].
_SSIM_SIGMA = 1.5  # pixels
SSIM_RADIUS = 5  # pixels: a window of 11 x 11
_SSIM_C1 = 0.01**2
_SSIM_C2 = 0.03**2


@dataclasses.dataclass(frozen=True)
class Distance:
    """A distance between images, hashable: it can be a static argument of `jit`.

    Attributes:
      name: one of `NAMES`. 'squared' and 'absolute' difference and 'ssim', see
        `structural_dissimilarity`, are means over the channels; 'conv1_2', 'conv2_2'
        and 'conv3_4' are distances of one VGG-19 layer's features, see
        `feature_distance`; 'pm' is UTAD's perceptual distance, the sum of all three
        (Eq. 8, "perceptual measurement").
      layer_weights: lambda of conv1_2, conv2_2 and conv3_4 in 'pm'. (The paper's
        values are unknown.)
      normalisation: of the features, see `feature_distance`.
      dtype: of VGG-19's computation.
      weights: file of VGG-19, see `vgg19_weights.load`.
    """

    name: str
    layer_weights: tuple[float, ...] = (1.0, 1.0, 1.0)
    normalisation: str = "relative"
    dtype: str = "float32"
    weights: str = ""

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> Distance:
        """From resolved settings."""
        return cls(
            name=config.scoring.distance,
            layer_weights=tuple(config.scoring.layer_weights),
            normalisation=config.scoring.normalisation,
            dtype=config.dtype,
            weights=config.vgg_weights,
        )

    @property
    def frozen(self) -> dict[str, Distance]:
        """Networks to load, by name: VGG-19 if the distance needs it."""
        return {VGG19: self} if self.uses_vgg else {}

    def load(self) -> Params:
        """The parameters of `distance`, from `weights`."""
        return self.load_params(self.weights)

    def between(
        self, frozen: Mapping[str, Params]
    ) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """`distance` with the parameters in `frozen`, by name."""
        return functools.partial(self.distance, frozen.get(VGG19, {}))

    @property
    def layers(self) -> tuple[str, ...]:
        """The VGG-19 layers that are compared."""
        if self.name == "pm":
            return vgg19.LAYERS
        return (self.name,) if self.name in vgg19.LAYERS else ()

    @property
    def uses_vgg(self) -> bool:
        """Whether the distance needs weights."""
        return bool(self.layers)

    def init(self, seed: int = 0) -> Params:
        """Parameters with random weights, for instance for their shapes."""
        if not self.uses_vgg:
            return {}
        images = jnp.zeros((1, 8, 8, 3))
        variables = vgg19.Features(self.layers).init(jax.random.key(seed), images)
        return {"vgg19": variables["params"], "scales": jnp.ones(len(self.layers))}

    def load_params(self, path: str = "") -> Params:
        """Parameters of `distance`: {}, or VGG-19 and the scale of each layer.

        The scale is the mean feature on two photographs (scikit-learn's sample images).

        Args:
          path: of the weights, see `vgg19_weights.load`.

        Raises:
          errors.UserError: the weights are missing or cannot be read.
        """
        if not self.uses_vgg:
            return {}
        loaded = vgg19_weights.load(path)
        needed = jax.eval_shape(self.init)["vgg19"]
        params = {name: loaded[name] for name in needed}
        features = jax.jit(vgg19.Features(self.layers).apply)
        outputs = features({"params": params}, _photographs())
        scales = jnp.stack([jnp.mean(output) for output in outputs])
        return {"vgg19": params, "scales": scales}

    def distance(
        self, params: Params, a_bhwc: jax.Array, b_bhwc: jax.Array
    ) -> jax.Array:
        """The distance at each pixel, (B, H, W) float32; 0 where the images are equal.

        With VGG-19 each pair of 512 x 512 images takes about 450 MiB.

        Args:
          params: from `load_params`.
          a_bhwc: images in [0, 1], grey or RGB.
          b_bhwc: images to compare with.
        """
        if a_bhwc.shape != b_bhwc.shape:
            raise ValueError(f"images {a_bhwc.shape} != {b_bhwc.shape}")
        a, b = a_bhwc.astype(jnp.float32), b_bhwc.astype(jnp.float32)
        if self.name == "squared":
            return jnp.mean(jnp.square(a - b), axis=-1)
        if self.name == "absolute":
            return absolute(a, b)
        if self.name == "ssim":
            return jnp.mean(structural_dissimilarity(a, b), axis=-1)
        return self._perceptual(params, a, b)

    def _perceptual(self, params: Params, a: jax.Array, b: jax.Array) -> jax.Array:
        net = vgg19.Features(self.layers, jnp.dtype(self.dtype))
        # Not as one batch: separately they take less memory, and under a vmap over `b`
        # only, the features of `a` are computed once.
        features_a = net.apply({"params": params["vgg19"]}, a)
        features_b = net.apply({"params": params["vgg19"]}, b)
        weights = self.layer_weights if self.name == "pm" else (1.0,)
        total = jnp.zeros(a.shape[:3])
        for i, weight in enumerate(weights):
            distance = feature_distance(
                self.normalisation, features_a[i], features_b[i], params["scales"][i]
            )
            total += weight * jax.image.resize(distance, total.shape, "bilinear")
        return total


def absolute(a_bhwc: jax.Array, b_bhwc: jax.Array) -> jax.Array:
    """Mean absolute difference over the channels, (B, H, W)."""
    return jnp.mean(jnp.abs(a_bhwc - b_bhwc), axis=-1)


def feature_distance(
    normalisation: str, a_bhwc: jax.Array, b_bhwc: jax.Array, scale: jax.Array
) -> jax.Array:
    """The distance of two layers' outputs at each position, (B, H, W) float32.

    With |.| the mean of absolute values over the channels:

      'relative'  |a - b| / ((|a| + |b|) / 2 + scale)
      'layer'     |a - b| / scale
      'unit'      1 - cos(a, b), half the squared distance of a and b of length 1
                  (as in LPIPS, Zhang et al. 2018)
      'none'      |a - b|

    All but 'none' are invariant to multiplying a layer's features by a constant, by
    which the sources of weights differ.

    Features are strong in bright, dark or textured regions and weak on uniform grey.
    With 'layer', a small shift of a strong edge outweighs a defect in a smooth region.
    'unit' tolerates the shift, but rates camera noise on uniform grey nearly as high as
    a step in brightness. 'relative', the default, equals 'layer' where features are
    weak and approaches 'unit' where they are strong.

    Args:
      normalisation: one of the names above.
      a_bhwc: features after a ReLU.
      b_bhwc: those of the other images.
      scale: mean of this layer's features on photographs.
    """
    a, b = a_bhwc.astype(jnp.float32), b_bhwc.astype(jnp.float32)
    if normalisation == "unit":
        return jnp.sum(jnp.square(_unit(a) - _unit(b)), axis=-1) / 2
    difference = jnp.mean(jnp.abs(a - b), axis=-1)
    if normalisation == "relative":
        return difference / (jnp.mean(a + b, axis=-1) / 2 + scale)
    return difference / scale if normalisation == "layer" else difference


def structural_dissimilarity(a_bhwc: jax.Array, b_bhwc: jax.Array) -> jax.Array:
    """(1 - SSIM) / 2 of each channel at each pixel, in [0, 1], in float32.

    Gaussian window of 11 x 11 pixels, sigma 1.5; images in [0, 1], padded by symmetric
    reflection. With m and v for mean and variance in the window,

      SSIM = (1 - (m_a - m_b)^2 / (m_a^2 + m_b^2 + C1)) (1 - v_(a-b) / (v_a + v_b + C2))

    which is the usual form rearranged so that equal images give exactly 0.

    Source: Wang et al. 2004.
    """
    mean_a, mean_b = _blur(a_bhwc), _blur(b_bhwc)
    shift = jnp.square(mean_a - mean_b)
    luminance = shift / (jnp.square(mean_a) + jnp.square(mean_b) + _SSIM_C1)
    structure = _variance(a_bhwc - b_bhwc, mean_a - mean_b) / (
        _variance(a_bhwc, mean_a) + _variance(b_bhwc, mean_b) + _SSIM_C2
    )
    return (luminance + structure - luminance * structure) / 2


def _variance(x_bhwc: jax.Array, mean_bhwc: jax.Array) -> jax.Array:
    return jax.nn.relu(_blur(jnp.square(x_bhwc)) - jnp.square(mean_bhwc))


def _blur(x_bhwc: jax.Array) -> jax.Array:
    """Gaussian mean; as sums, because GPUs round inputs of convolutions to 10 bits."""
    taps = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    weights = np.exp(-0.5 * (taps / _SSIM_SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (SSIM_RADIUS, SSIM_RADIUS)
        padded = jnp.pad(x_bhwc, pad, mode="symmetric")
        size = x_bhwc.shape[axis]
        x_bhwc = sum(
            float(weight) * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
            for i, weight in enumerate(weights)
        )
    return x_bhwc


def _unit(x_bhwc: jax.Array) -> jax.Array:
    length = jnp.linalg.norm(x_bhwc, axis=-1, keepdims=True)
    return x_bhwc / jnp.maximum(length, jnp.finfo(jnp.float32).tiny)


def _photographs() -> np.ndarray:
    """Two photographs at half their size, (2, 213, 320, 3) in [0, 1]."""
    from sklearn import datasets  # slow to import, and only needed here

    images = np.stack(datasets.load_sample_images().images)[:, :426].astype(np.float32)
    return images.reshape(2, 213, 2, 320, 2, 3).mean((2, 4)) / 255
