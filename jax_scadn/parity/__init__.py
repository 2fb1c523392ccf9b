"""Numeric checks against PyTorch; the command is `__main__.py`.

A golden file contains images and the results of the authors' PyTorch code of SCADN or
UTAD. Its weights are not stored but generated from the names of the parameters and a
seed, so that any seed, size and batch can be checked.
"""
