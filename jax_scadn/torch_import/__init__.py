"""PyTorch state dicts of the authors' SCADN and UTAD -> Flax variables.

    python -m jax_scadn.torch_import --generator=best_gen.pth \\
        --config=configs/mvtec.py:bottle --workdir=runs/imported

turns a trained generator into a detector for evaluate and predict; mu, threshold and
colours come from the normal images of the settings.
"""
