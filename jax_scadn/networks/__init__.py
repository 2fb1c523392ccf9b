"""Networks as Flax modules; images are NHWC."""
