import functools
import subprocess
import sys

import jax
import numpy as np
import pytest

from jax_scadn.networks import ie_net
from jax_scadn.networks.layers import layers
from jax_scadn.parity import __main__ as command_line
from jax_scadn.parity import report, utad
from jax_scadn.runtime import errors

pytestmark = pytest.mark.jax_version

SEED, BATCH = 7, 3
IE_NET = {
    f"ie_{mode}_{name}"
    for mode in ("train", "eval")
    for name in ("recon_every4", "latent", "mean", "log_var")
}
EVALUATED = {name for name in IE_NET if "eval" in name}
PICTURES = {"en_i_recon", "en_m2i", "en_i2m", "en_m2i_batch1"}


@pytest.fixture(scope="module", autouse=True)
def small_ie_net():
    small = functools.partial(
        ie_net.IENet,
        features=(2, 2, 4, 4),
        decoder_features=(4, 4, 4, 2),
        head_features=4,
        latent=8,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ie_net, "IENet", small)
        yield


@pytest.fixture(scope="module")
def golden():
    """A file of the golden format with other sizes than the shared one.

    It is written by the code under test, so it only shows that `check` takes any file
    of the format and detects every change. The shared file shows that the numbers are
    PyTorch's.
    """
    rng = np.random.default_rng(0)

    def images(size):
        return rng.integers(0, 256, (BATCH, 1, size, size), np.uint8)

    arrays = {
        "seed": np.array(SEED),
        "ie_images_u8_nchw": images(64),
        "imgdisc_real_u8": images(64),
        "imgdisc_fake_u8": images(64),
        "en_image_u8": images(16),
        "en_impression_u8": images(16),
        "en_content_i_every4": np.zeros((BATCH, 4, 4, 4)),  # read for its shape
    }
    return arrays | {k: np.asarray(v) for k, v in utad.quantities(arrays).items()}


@pytest.fixture
def fresh_programs():
    """Compiled programs do not see that a constant has changed."""
    jax.clear_caches()
    yield
    jax.clear_caches()


def failed(golden):
    return {row.name for row in utad.check(golden, {}) if not row.passed}


def test_any_size_seed_and_batch_passes(golden):
    rows = utad.check(golden, {})
    assert all(row.passed for row in rows)
    assert {row.name for row in rows} == set(golden) - utad._GIVEN


def test_a_change_of_an_array_fails_its_row_and_no_other(golden):
    ours = {name: a for name, a in golden.items() if name not in utad._GIVEN}
    assert len(ours) == 19
    for name, array in ours.items():
        changed = array.copy()
        changed.flat[array.size // 2] += 3e-3 * np.abs(array).max()
        rows = utad.compare(ours, golden | {name: changed})
        assert [row.name for row in rows if not row.passed] == [name]


def test_another_seed_changes_every_quantity(golden):
    assert failed(golden | {"seed": np.array(SEED + 1)}) == set(golden) - utad._GIVEN


@pytest.mark.parametrize(
    ("constant", "value", "names"),
    [
        ("BATCH_NORM_EPS", 1e-5, IE_NET),
        ("BATCH_NORM_MOMENTUM", 0.01, EVALUATED),
        # Biased: with n values in an image it changes them by 1 / (2 n). That shows
        # here, but not in the shared file, whose Expert-Net has n = 131072.
        ("LAYER_NORM_DDOF", 0, PICTURES),
    ],
)
@pytest.mark.usefixtures("fresh_programs")
def test_a_wrong_constant_fails(golden, monkeypatch, constant, value, names):
    monkeypatch.setattr(layers, constant, value)
    assert failed(golden) == names


@pytest.mark.usefixtures("fresh_programs")
def test_mean_and_deviation_of_adain_in_the_wrong_order_fail(golden, monkeypatch):
    right = layers.adaptive_instance_norm
    monkeypatch.setattr(
        layers, "adaptive_instance_norm", lambda x, mean, std: right(x, std, mean)
    )
    assert failed(golden) == PICTURES


def test_a_file_with_more_or_less_is_refused(golden):
    ours = {name: a for name, a in golden.items() if name not in utad._GIVEN}
    with pytest.raises(errors.UserError, match="also contains en_new"):
        utad.compare(ours, golden | {"en_new": np.zeros(1)})
    less = {name: array for name, array in golden.items() if name != "en_m2i"}
    with pytest.raises(errors.UserError, match="lacks en_m2i"):
        utad.compare(ours, less)
    less.pop("en_image_u8")
    with pytest.raises(errors.UserError, match="lacks en_image_u8"):
        utad.check(less, {})


def test_comparison_with_the_largest_by_hand():
    row = report.compare("x", [1.0, -4.2], [1.0, -4.0], 0.1, "max")
    assert row.difference == pytest.approx(0.05)
    assert row.passed


@pytest.mark.parametrize(("ours", "status"), [(1.0, 0), (1.1, 1), (np.nan, 1)])
def test_exit_status(monkeypatch, tmp_path, capsys, ours, status):
    rows = [report.compare(name, ours, 1.0, 0.01, "max") for name in "ab"]
    monkeypatch.setattr(command_line, "_check", lambda golden: rows)
    np.savez(tmp_path / "x.npz")
    assert command_line.main([str(tmp_path / "x.npz")]) == status
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == [("pass", "FAIL")[status]] * 2
    assert lines[3] == f"{2 - 2 * status} of 2 quantities pass"


def run(path, *flags):
    command = [sys.executable, "-m", "jax_scadn.parity", str(path), *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_settings_are_refused_in_one_line(tmp_path):
    np.savez(tmp_path / "x.npz", seed=0)
    done = run(tmp_path / "x.npz", "--config.masks.mask_value=0.5")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "--config.masks.mask_value" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("optimized")
@pytest.mark.slow
def test_equal_to_pytorch_at_full_width(shared):
    done = run(shared / "golden" / "utad_seed0.npz")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "19 of 19 quantities pass" in done.stdout
