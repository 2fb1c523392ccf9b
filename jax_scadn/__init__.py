"""Visual anomaly detection by reconstruction, in JAX.

detector = jax_scadn.load("runs/lace")
scored = detector.score(images)  # maps, scores, scales
"""

__version__ = "0.1.0"


def load(workdir):
    """The detector that `jax_scadn.train` left in a work directory."""
    from jax_scadn.detection import detector  # JAX is not imported before it is needed

    return detector.load(workdir)
