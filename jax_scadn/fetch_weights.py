"""Downloads pretrained weights once: `python -m jax_scadn.fetch_weights`.

VGG-19 for perceptual distances; see `networks.pretrained.vgg19_weights`.
"""

from jax_scadn.runtime import startup  # noqa: F401

# isort: split

from jax_scadn.networks.pretrained import vgg19_weights
from jax_scadn.runtime import cli


def main(_) -> None:
    print(f"VGG-19 weights: {vgg19_weights.fetch()}")


if __name__ == "__main__":
    cli.run(main)
