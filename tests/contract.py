"""One tiny setting for each method, and weights of an encoder drawn at random."""

import dataclasses
import functools
import pathlib
import tempfile

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import utad_tiny

from jax_scadn import methods
from jax_scadn.methods import (
    autoencoder,
    memae,
    patch_memory,
    riad,
    skip_ganomaly,
    vae,
)
from jax_scadn.methods.scadn import method as scadn
from jax_scadn.methods.utad import expert
from jax_scadn.networks import pyramid
from jax_scadn.networks.pretrained import efficientnet_lite, state_dict
from jax_scadn.settings import resolve
from jax_scadn.training import protocol

SIZE = 32
_FOLDER = tempfile.TemporaryDirectory(prefix="jax_scadn_contract_")
_SHARED = {
    "data.source": "lace",
    "data.size": SIZE,
    "data.channels": 1,
    "data.threads": 1,
    "data.test_normal_limit": 5,
    "data.test_anomalous_limit": 2,
    "training.checkpoint_every": 2,
    "training.log_every": 1,
    "training.picture_every": 0,
    "scoring.images_per_call": 8,
    "calibration.pixel_false_alarm_rate": 0.1,
    "evaluation.sheet_rows": 1,
}
_TRAINED = {"training.batch_size": 4, "training.steps": 4}
_SMALL = {"model.width": 4, "model.latent": 3}


@functools.cache
def encoder_file(seed=0):
    """Weights of EfficientNet-Lite0 up to stride 4, drawn at random, as .npz."""
    stages = ("stride_4",)
    network = efficientnet_lite.EfficientNetLite0(stages)
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    shapes = state_dict.flatten(jax.eval_shape(network.init, jax.random.key(0), image))
    rng = np.random.default_rng(seed)
    arrays = {}
    for theirs, ours in efficientnet_lite.torch_names(stages).items():
        shape = state_dict.torch_shape(shapes[ours].shape)
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        value = scale * rng.standard_normal(shape)
        arrays[theirs] = np.float32(np.abs(value) + 0.5 if "var" in ours else value)
        if ours.endswith("scale"):
            arrays[theirs] += 1
    path = pathlib.Path(_FOLDER.name) / f"encoder_{seed}.npz"
    np.savez(path, **arrays)
    return str(path)


def _settings(method, **fields):
    config = methods.default(method)
    for field, value in (_SHARED | fields).items():
        resolve.put(config, field, value)
    return config


def _scadn():
    config = conftest.tiny(data__size=SIZE)
    for field, value in _SHARED.items():
        resolve.put(config, field, value)
    return config


def _utad():
    config = utad_tiny.settings()
    for field, value in _SHARED.items():
        resolve.put(config, field, value)
    return config


def _autoencoder(preset):
    distance = "ssim" if preset == "ae_ssim" else "squared"
    fields = {"preset": preset, "scoring.distance": distance}
    return _settings("autoencoder", **_TRAINED, **_SMALL, **fields)


def _memae():
    fields = {"model.width": 4, "memory.size": 6}
    return _settings("memae", **_TRAINED, **fields)


def _riad():
    fields = {"model.halvings": 1, "masks.cells": (4, 8), "scoring.smoothing": 3}
    return _settings("riad", **_TRAINED, **{"model.width": 2}, **fields)


def _vae():
    """A variational network, and projection: all of both presets."""
    fields = {"preset": "gamma_vae", "model.variational": True, "projection.steps": 2}
    return _settings("vae", **_TRAINED, **_SMALL, **{"model.hidden": 8}, **fields)


def _reference(kind):
    return _settings("reference_images", **{"reference.kind": kind})


def _patch_memory():
    fields = {
        "encoder.weights": encoder_file(),
        "encoder.stages": ("stride_4",),
        "memory.size": 64,
        "memory.neighbours": 3,
        "scoring.smoothing": 1.0,
    }
    return _settings("patch_memory", **fields)


def _one_class(preset, **fields):
    return _settings("one_class", preset=preset, **fields)


def _deep_svdd():
    fields = {"pretraining.batch_size": 4, "pretraining.steps": 4}
    return _settings("deep_svdd", **_TRAINED, **fields)


def _anogan():
    fields = {"encoder.training.batch_size": 4, "encoder.training.steps": 4}
    return _settings("anogan", **_TRAINED, **_SMALL, **fields)


def _alocc(preset):
    fields = {"model.width": 4, "model.discriminator_width": 4}
    return _settings("alocc", preset=preset, **_TRAINED, **fields)


@dataclasses.dataclass(frozen=True)
class Subject:
    """A method under contract.

    Attributes:
      settings: gives an unresolved tiny setting.
      perfect: given monkeypatch and images, makes the method reconstruct perfectly;
        None where no image scores 0.
      sweep: FIELD=VALUE,VALUE for an ablation of two variants of one program.
      solution: shapes of the results of the stages that are solved, by name.
    """

    settings: callable
    perfect: callable
    sweep: str
    solution: dict | None = None


def _inpaints(monkeypatch, images):
    monkeypatch.setattr(scadn.Method, "inpaint", lambda *_: jnp.asarray(images))


def _translates(monkeypatch, images):
    def perfect(self, experts, images_bhwc, impressions_bhwc, key=None):
        nothing = jnp.zeros((len(images_bhwc), 1))
        return expert.Translated(
            images_bhwc, impressions_bhwc, nothing, nothing, nothing
        )

    monkeypatch.setattr(expert.ExpertStage, "translate", perfect)


def _reconstructs(stage):
    def perfect(monkeypatch, images):
        monkeypatch.setattr(stage, "reconstruct", lambda *_: jnp.asarray(images))

    return perfect


def _inpaints_cells(monkeypatch, images):
    stage = riad.InpaintingStage
    monkeypatch.setattr(stage, "inpaint", lambda *_: jnp.stack([images] * 2))


def _remembers(monkeypatch, images):
    """A memory of all patches: training images are in it."""
    monkeypatch.setattr(
        patch_memory.coreset, "greedy_k_center", lambda _, x, __: np.arange(len(x))
    )


def _array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _generates(monkeypatch, images):
    stage, output = skip_ganomaly.SkipStage, pyramid.signed(jnp.asarray(images))
    monkeypatch.setattr(stage, "generate", lambda *_: output)


_SVM = {
    "mean": _array(SIZE**2),
    "basis": _array(SIZE**2, 5),
    "centres": _array(6, 5),
    "weights": _array(6),
    "offset": _array(),
    "gamma": _array(),
}
_DENSITY = {
    "mean": _array(SIZE**2),
    "centres": _array(9, SIZE**2),
    "bandwidth": _array(),
}


def _is_known(monkeypatch, images):
    """The images are those of training."""


_AE = autoencoder.AutoencoderStage
SUBJECTS = {
    "scadn": Subject(_scadn, _inpaints, "optimizer.learning_rate=1e-4,2e-4"),
    "utad": Subject(_utad, _translates, "impression.learning_rate=1e-3,2e-3"),
    "ae_l2": Subject(
        lambda: _autoencoder("ae_l2"), _reconstructs(_AE), "optimizer.decay=0.0,0.1"
    ),
    "ae_ssim": Subject(
        lambda: _autoencoder("ae_ssim"), _reconstructs(_AE), "optimizer.decay=0.0,0.1"
    ),
    "dae": Subject(
        lambda: _autoencoder("dae"), _reconstructs(_AE), "optimizer.decay=0.0,0.1"
    ),
    "memae": Subject(
        _memae, _reconstructs(memae.MemoryStage), "loss.entropy_weight=0.0,1e-3"
    ),
    "riad": Subject(_riad, _inpaints_cells, "loss.msgms_weight=0.5,1.0"),
    "vae": Subject(_vae, _reconstructs(vae.VAEStage), "loss.kl_weight=0.5,1.0"),
    "mean image": Subject(
        lambda: _reference("mean"),
        None,
        "scoring.image_score=mean,max",
        {"reference": {"mean": _array(SIZE, SIZE, 1)}},
    ),
    "nearest image": Subject(
        lambda: _reference("nearest"),
        _is_known,
        "scoring.image_score=mean,max",
        {
            "reference": {
                "mean": _array(SIZE, SIZE, 1),
                "images": _array(9, SIZE, SIZE, 1),
            }
        },
    ),
    "patch_memory": Subject(
        _patch_memory,
        _remembers,
        "scoring.smoothing=0.0,2.0",
        {"memory": {"patches": _array(64, 24)}},
    ),
    "ocsvm": Subject(
        lambda: _one_class("ocsvm"), None, "ocsvm.nu=0.1,0.5", {"one_class": _SVM}
    ),
    "kde": Subject(
        lambda: _one_class("kde", **{"model.features": "pixels"}),
        None,
        "kde.bandwidth=1.0,2.0",
        {"one_class": _DENSITY},
    ),
    "deep_svdd": Subject(
        _deep_svdd,
        None,
        "optimizer.learning_rate=1e-4,2e-4",
        {
            "contrast": {"low": _array(), "high": _array()},
            "centre": {"centre": _array(32)},
        },
    ),
    "alocc_dr": Subject(lambda: _alocc("dr"), None, "model.noise=0.1,0.2"),
    "ganomaly": Subject(
        lambda: _settings("ganomaly", **_TRAINED, **_SMALL),
        None,
        "loss.context_weight=40.0,50.0",
    ),
    "anogan": Subject(_anogan, None, "encoder.features_weight=0.5,1.0"),
    "skip_ganomaly": Subject(
        lambda: _settings("skip_ganomaly", **_TRAINED, **{"model.width": 4}),
        _generates,
        "loss.context_weight=40.0,50.0",
    ),
}


def is_trained(name):
    """Whether a method has a stage that is trained in steps."""
    stages = methods.create(resolved(name)).stages
    return bool(protocol.gradient_stages(stages))


def settings(name):
    """Unresolved tiny settings of a method.

    With its usual eps Adam moves a weight by the sign of its gradient at first, which
    may be nothing but rounding, as that of a bias before a batch norm.
    """
    config = SUBJECTS[name].settings()
    for field in methods.fields(config.method):
        if field.endswith(".eps"):
            resolve.put(config, field, 1e-2)
    return config


def resolved(name, steps=None, **changes):
    """Tiny settings of a method.

    Args:
      name: a key of `SUBJECTS`.
      steps: of every stage that is trained.
      **changes: `a__b=c` sets a.b.
    """
    config = settings(name)
    if steps is not None:
        for field in methods.fields(config.method):
            if field.endswith(".steps"):
                resolve.put(config, field, steps)
    for field, value in changes.items():
        resolve.put(config, field.replace("__", "."), value)
    return methods.resolve(config)
