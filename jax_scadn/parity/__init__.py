"""Numeric checks against PyTorch; the command line is `__main__.py`.

A golden file holds images and what the authors' PyTorch code of SCADN or of UTAD made
of them. Its weights are not stored but made from the parameters' names and a seed, so
that any seed, size and batch can be checked.
"""
