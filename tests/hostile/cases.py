"""What is done with hostile inputs, and what must hold afterwards.

Each case gets a random generator and an empty folder. It returns if all went right and
raises `errors.UserError` where the input was refused.
"""

import io
import json
import os
import shutil
from contextlib import redirect_stderr, redirect_stdout

import jax
import numpy as np
from PIL import Image

import jax_scadn
from jax_scadn import methods
from jax_scadn.data import check as check_lib
from jax_scadn.data import images, records, sources
from jax_scadn.detection import detector, prediction
from jax_scadn.runtime import errors
from tests.hostile import pictures

SIZE = 32
NAMES = (
    "0",
    "ü",
    "日本",
    "a b",
    "'",
    '"',
    "$x",
    "-f",
    "new\nline",
    "x" * 200,
    "\udcff",
)


def write(rng, folder, stem, data=None):
    """Writes some image file, or the given bytes of one."""
    ending, hostile = pictures.some(rng)
    if data is not None:
        ending, hostile = data
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.{ending}"
    path.write_bytes(hostile)
    return path


def read(rng, folder):
    channels = int(rng.choice([1, 3]))
    image = images.read(write(rng, folder, "0"), SIZE, channels)
    assert image.shape == (SIZE, SIZE, channels)
    assert image.dtype in (np.uint8, np.uint16)


def read_mask(rng, folder):
    mask = images.read_mask(write(rng, folder, "0"), SIZE)
    assert mask.shape == (SIZE, SIZE)
    assert mask.dtype == bool


def check(rng, folder):
    """A data set with damaged images, masks, links and hidden folders."""
    root = folder / "part"
    for n in range(3):
        write(rng, root / "train/good", n, pictures.whole(rng))
        write(rng, root / "test/hole", n, pictures.whole(rng))
        write(rng, root / "ground_truth/hole", f"{n}_mask", pictures.whole(rng))
    places = ("train/good", "test/hole", "test/good", "test", "ground_truth/hole")
    for n in range(int(rng.integers(1, 4))):
        place = root / rng.choice(places)
        kind = rng.integers(4)
        if kind == 0:
            write(rng, place, f"{n + rng.integers(3)}")
        elif kind == 1:
            write(rng, place / rng.choice([".trash", "@eaDir", "deep"]), n)
        elif kind == 2:
            place.mkdir(exist_ok=True)
            os.symlink(rng.choice(["gone.png", "..", "."]), place / f"link{n}.png")
        else:
            write(rng, place, rng.choice(NAMES))
    config = methods.default()
    settings = {"path": str(folder), "source": "folder", "size": SIZE, "channels": 3}
    config.data.update(settings)
    with redirect_stdout(io.StringIO()) as printed:
        fatal = check_lib.report(config)
    dataset = sources.load(config.data, 0)
    if fatal:
        assert "FATAL" in printed.getvalue()
        dataset = check_lib.enforce(dataset, "stop")  # raises
        raise AssertionError("a fatal problem did not stop")
    dataset = check_lib.enforce(dataset, "stop")
    assert len(dataset.train) + len(dataset.held_out) >= 3
    assert not any("trash" in path or "@ea" in path for path in dataset.test.paths)


def saved(folder):
    """A calibrated detector of mean images, saved."""
    config = methods.default("reference_images")
    config.data.update({"size": SIZE, "channels": 1, "source": "lace"})
    config = methods.resolve(config)
    rng = np.random.default_rng(0)
    images_bhwc = rng.integers(0, 256, (6, SIZE, SIZE, 1), np.uint8)
    items = [
        records.Item(str(n), records.NORMAL, "good", lambda image=image: image)
        for n, image in enumerate(images_bhwc)
    ]
    reference = {
        "mean": images_bhwc.mean(axis=0, dtype=np.float32) / 255,
        "images": images_bhwc,
    }
    (stage,) = methods.create(config).stages
    trained = detector.Detector(config, {"frozen": {}, stage.name: reference})
    split = records.Split(items)
    trained = trained.calibrated(split, split)
    trained.save(folder)
    return trained


def predict(rng, folder, trained):
    """Each image has a line with finite numbers, or an error line."""
    for name in rng.permutation(NAMES)[:3]:
        write(rng, folder / "in", name)
    paths = prediction.find(str(folder / "in"), folder / "out")
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        failed = prediction.predict(trained, paths, folder / "out", overlays=False)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) + len(failed) == len(paths)
    assert len(err.getvalue().splitlines()) == len(failed)
    assert all(line.startswith("error: ") for line in err.getvalue().splitlines())
    for line in lines:
        assert np.isfinite(
            [line["score"], line["threshold"], line["anomalous_share"]]
        ).all()
        anomalous = line["score"] > line["threshold"]
        assert line["decision"] == ("anomalous" if anomalous else "ok")
    if failed:
        raise errors.UserError("some images were refused")


def load(rng, folder, trained, original):
    """A damaged detector is refused, or is what it was."""
    shutil.copytree(original, folder / "run")
    files = sorted(p for p in (folder / "run").rglob("*") if p.is_file())
    path = files[rng.integers(len(files))]
    if rng.random() < 0.1:
        path.unlink()
    else:
        damage = pictures.DAMAGES[rng.integers(5)]
        path.write_bytes(damage(rng, path.read_bytes() or b"x"))
    loaded = jax_scadn.load(folder / "run")
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, trained.variables)
    values = [loaded.calibration.threshold, loaded.calibration.map_threshold]
    assert np.isfinite(values).all()


def settings(rng, folder, original):
    """A file of settings with some wrong values."""
    values = json.loads((original / detector.CONFIG).read_text())
    wrong = (None, True, -1, 0, 1e400, float("nan"), 2**40, "", "x", "\0", [], [[]], {})
    for _ in range(int(rng.integers(1, 3))):
        section = values
        key = str(rng.choice(sorted(section)))
        if isinstance(section[key], dict) and section[key] and rng.random() < 0.9:
            section = section[key]
            key = str(rng.choice(sorted(section)))
        if rng.random() < 0.1:
            del section[key]
        else:
            section[key] = wrong[rng.integers(len(wrong))]
    path = folder / detector.CONFIG
    path.write_text(json.dumps(values))
    config = methods.read(path)
    methods.create(config)


def image_arrays(rng, folder, trained):
    """Arrays from Python: scored finite, or refused."""
    shape = [(2, 40, 48), (2, 40, 48, 3), (40, 48, 3), (0, 8, 8), (2, 1, 1), (2, 3)]
    dtype = ["u1", ">u2", "<f4", "f8", "i4", "?", "c8"]
    array = rng.random(shape[rng.integers(len(shape))]) * rng.choice([1, 255, 65535])
    array = array.astype(np.dtype(str(rng.choice(dtype))))
    if array.size and array.dtype.kind == "f" and rng.random() < 0.3:
        array.flat[0] = np.nan
    scored = trained.score(array)
    assert len(scored.scores) == len(array)
    assert np.isfinite(scored.scores).all()


def all_cases(folder):
    """The functions above by name, each with arguments (rng, empty folder)."""
    trained = saved(folder)
    Image.init()
    return {
        "read": read,
        "read_mask": read_mask,
        "check": check,
        "predict": lambda rng, empty: predict(rng, empty, trained),
        "load": lambda rng, empty: load(rng, empty, trained, folder),
        "settings": lambda rng, empty: settings(rng, empty, folder),
        "arrays": lambda rng, empty: image_arrays(rng, empty, trained),
    }
