import conftest
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn import methods
from jax_scadn.networks.pretrained import state_dict
from jax_scadn.parity import __main__ as command_line
from jax_scadn.parity import report
from jax_scadn.parity import scadn as parity
from jax_scadn.runtime import errors
from jax_scadn.scoring import merging
from jax_scadn.torch_import import scadn as torch_scadn

pytestmark = pytest.mark.jax_version

SEED, SIZE, CHANNELS, BATCH, STEPS, WIDTH, BLOCKS = 5, 32, 1, 3, 2, 4, 2
TAGS = ("before", "after")


@pytest.fixture(scope="module")
def golden():
    """A file of the golden format with other sizes than the shared one.

    It is written by the code under test, so it only shows that `check` takes any file
    of the format and detects every change. The shared file shows that the numbers are
    PyTorch's.
    """
    config = conftest.tiny(
        data__size=SIZE,
        data__channels=CHANNELS,
        model__width=WIDTH,
        model__blocks=BLOCKS,
        model__discriminator_width=WIDTH,
    )
    method = methods.create(config)
    stage = method.inpainting
    generator, discriminator = parity.golden_weights(stage, SEED)
    state = stage.state_of(generator, **discriminator)
    rng = np.random.default_rng(0)
    arrays = {
        f"{name}_images_u8_nchw": rng.integers(
            0, 256, (count, CHANNELS, SIZE, SIZE), np.uint8
        )
        for name, count in (("train", BATCH * STEPS), ("val", 5), ("test", 2))
    }
    images = {
        name.split("_")[0]: jnp.asarray(a.transpose(0, 2, 3, 1), jnp.float32) / 255
        for name, a in arrays.items()
    }
    arrays |= {"seed": np.array(SEED), "mask_set": method.masks_mhw}
    arrays["mask_index"] = rng.integers(0, 12, (STEPS, BATCH))
    arrays |= _inference("before", method, state, images)
    hyper = stage.hyperparameters(config)
    logs = []
    for step, index in enumerate(arrays["mask_index"]):
        state, metrics, (norms, _) = parity._step(
            stage,
            state,
            hyper,
            images["train"][step * BATCH : (step + 1) * BATCH],
            hyper.masks_mhw[index],
        )
        if step == 0:
            flat = state_dict.flatten(norms)
            names = torch_scadn.generator_names(BLOCKS)
            arrays["grad_norm_names"] = np.array([f"generator.{n}" for n in names])
            arrays["grad_norm_values"] = np.array([flat[f] for f in names.values()])
        logs.append([metrics[ours] for ours in parity._LOGS.values()])
    arrays |= {"logs": np.array(logs), "log_names": np.array(list(parity._LOGS))}
    arrays |= _inference("after", method, state, images)
    first = state.generator["encoder_0"]["conv"]["kernel"].transpose(3, 2, 0, 1)
    arrays["after_gen_first_kernel"] = np.asarray(first)
    arrays["after_gen_last_bias"] = np.asarray(
        state.generator["decoder_3"]["conv"]["bias"]
    )
    arrays["after_disc_conv1_u"] = np.asarray(state.spectral["conv_0"]["u"])
    return arrays


def _inference(tag, method, state, images):
    normal = parity._scale_maps(method, state, images["val"])
    mu = jnp.mean(normal.maps_bkhw, axis=(0, 2, 3))
    maps = parity._scale_maps(method, state, images["test"]).maps_bkhw
    scored = merging.merge("max_mu", "mean", mu, maps, {})
    all_masks = parity._inpainted(method, state, images["test"][:1])
    realness = parity._realness(method, state, images["test"])
    values = {
        "recon_test0_all12": all_masks.transpose(0, 3, 1, 2),
        "disc_test": realness.transpose(0, 3, 1, 2),
        "mu": mu,
        "scale_maps_test": maps.swapaxes(0, 1),
        "selected": scored.scales,
        "score": scored.scores,
    }
    return {f"{tag}_{name}": np.asarray(value) for name, value in values.items()}


def failed(golden, **changes):
    changes = {field.replace("__", "."): value for field, value in changes.items()}
    return [row.name for row in parity.check(golden, changes) if not row.passed]


def test_any_size_seed_batch_and_number_of_steps_passes(golden):
    assert failed(golden) == []


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("masks__mask_value", 0.0),
        ("model__dilation", 1),
        ("model__power_iterations", 2),
    ],
)
def test_a_wrong_constant_fails(golden, change, value):
    names = failed(golden, **{change: value})
    assert any(name.startswith("step 0") for name in names)


def test_every_number_of_the_file_is_compared(golden):
    kept = ("seed", "log_names", "grad_norm_names", "mask_index", "mask_set")
    broken = {
        name: array
        if name in kept or name.endswith(("_u8_nchw", "_selected"))
        else array * 1.5 + 0.1
        for name, array in golden.items()
    }
    rows = parity.check(broken, {})
    passed = [row.name for row in rows if row.passed]
    assert passed == ["masks", *(f"{t}_selected (lead of ours)" for t in TAGS)]
    assert len(rows) > 40


def test_comparison_by_hand():
    row = report.compare("x", [1.0, 2.0], [1.0, 2.5], 0.2, "rel")
    assert row.difference == pytest.approx(0.2)
    assert row.passed
    assert not report.compare("x", [1.0], [1.3], 0.2, "abs").passed
    assert not report.compare("x", [np.nan], [1.0], 0.2, "abs").passed
    with pytest.raises(ValueError, match=r"\(2,\) != PyTorch's \(1,\)"):
        report.compare("x", [1.0, 2.0], [1.0], 0.2, "abs")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"nothing")
    for name in ("x.npz", "missing.npz"):
        with pytest.raises(errors.UserError):
            command_line.main([str(tmp_path / name)])


@pytest.mark.usefixtures("optimized")
@pytest.mark.slow
def test_equal_to_pytorch_at_full_width(shared):
    golden = dict(np.load(shared / "golden" / "scadn_seed0_64.npz"))
    assert failed(golden) == []
