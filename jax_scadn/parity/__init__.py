"""Numeric check against PyTorch: `python -m jax_scadn.parity GOLDEN.npz`.

A golden file holds images and what the authors' PyTorch code of SCADN or of UTAD made
of them. Its weights are not stored but made from the parameters' names and a seed, so
any seed, size and batch can be checked.
"""
