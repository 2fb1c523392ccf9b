"""Data sets of a few tiny images: MNIST's files, and a folder in MVTec's layout."""

import struct

import numpy as np
from PIL import Image

# Levels of grey, by class: of training images, and of test images.
TRAIN = {"0": (100, 100, 100, 100), "1": (60, 60, 60, 60)}
TEST = {"0": (100, 110), "1": (105, 130)}
FILES = {
    "train-images-idx3-ubyte": (TRAIN, True),
    "train-labels-idx1-ubyte": (TRAIN, False),
    "t10k-images-idx3-ubyte": (TEST, True),
    "t10k-labels-idx1-ubyte": (TEST, False),
}


def write_mnist(folder):
    """MNIST's four files, unpacked; images are of one level of grey each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (split, are_images) in FILES.items():
        pairs = [(level, int(k)) for k, levels in split.items() for level in levels]
        if are_images:
            values = np.stack([np.full((4, 4), level) for level, _ in pairs])
        else:
            values = np.array([label for _, label in pairs])
        head = struct.pack(">HBB", 0, 8, values.ndim)
        head += struct.pack(f">{values.ndim}I", *values.shape)
        (folder / name).write_bytes(head + values.astype(np.uint8).tobytes())
    return folder


# Of the mean image of TRAIN["0"], 100: squared differences 0 and 100 of the normal
# images, 25 and 900 of the others. Of four pairs one is in the wrong order.
MEAN_IMAGE_0 = 0.75
# Of TRAIN["1"], 60: 2025 and 4900 are normal; 1600 and 2500 are not, and one of four
# pairs is in the right order.
MEAN_IMAGE_1 = 0.25


def write_folder(folder, categories=("bolt",), masks=True):
    """Grey parts; a defect is a bright square. Normal test images differ a little."""
    rng = np.random.default_rng(0)
    for category in categories:
        place = folder / category
        for split, count in (("train/good", 6), ("test/good", 3), ("test/hole", 3)):
            (place / split).mkdir(parents=True)
            for number in range(count):
                image = 100 + rng.integers(0, 20, (32, 32))
                if split == "test/hole":
                    image[8:16, 8:16] = 220
                Image.fromarray(image.astype(np.uint8)).save(
                    place / split / f"{number}.png"
                )
        if masks:
            truth = place / "ground_truth/hole"
            truth.mkdir(parents=True)
            mask = np.zeros((32, 32), np.uint8)
            mask[8:16, 8:16] = 255
            for number in range(3):
                Image.fromarray(mask).save(truth / f"{number}_mask.png")
    return folder
