"""Descriptions of protocols and their differences."""

import comparison_runs

from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import protocol, report


def test_the_published_protocol_has_no_differences(tmp_path):
    table = papers.table("scadn/table2")
    changes = {field.replace(".", "__"): value for field, value in
               {**table.protocol.paper, **table.protocol.code}.items()}  # fmt: skip
    comparison_runs.write_run(
        tmp_path / "a", images=(10, 0), training__steps=0, **changes
    )
    assert (
        protocol.differences(comparison_runs.system_of(tmp_path / "a"), table.protocol)
        == []
    )
    # 10 images in batches of 4: two steps per epoch.
    changes["training__epochs"] = 1
    comparison_runs.write_run(
        tmp_path / "b", images=(10, 0), training__steps=400, **changes
    )
    assert (
        protocol.differences(comparison_runs.system_of(tmp_path / "b"), table.protocol)
        == []
    )
    comparison_runs.write_run(
        tmp_path / "c", images=(7, 1), training__steps=399, **changes
    )
    (line,) = protocol.differences(
        comparison_runs.system_of(tmp_path / "c"), table.protocol
    )
    assert line == (
        "training: 399 steps of 4 images, 228 epochs of 7 images; in the paper 200 "
        "epochs in batches of 4, 400 steps on all normal images of these data"
    )
    changes["training__batch_size"] = 2
    comparison_runs.write_run(
        tmp_path / "d", images=(10, 0), training__steps=400, **changes
    )
    (line,) = protocol.differences(
        comparison_runs.system_of(tmp_path / "d"), table.protocol
    )
    assert line.startswith("training: 400 steps of 2 images, 80 epochs of 10 images")


def test_differences_are_described(tmp_path):
    comparison_runs.write_run(
        tmp_path,
        images=(18, 2),
        data__held_out=0.1,
        data__test_normal_limit=3,
        masks__mask_value=0.5,
        masks__stripe_pairs=(2, 4),
    )
    table = papers.table("scadn/table2")
    lines = protocol.differences(comparison_runs.system_of(tmp_path), table.protocol)
    for line in (
        "image size: 64 x 64 pixels; in the paper 512 x 512 pixels",
        "held-out normal images: 10%; in its authors' code 0%",
        "normal test images: the first 3; in its authors' code all",
        "value of masked pixels: 0.5; in the paper 0.0, in its authors' code 1.0",
        "generator width: 4; in its authors' code 64",
        "generator blocks: 1; in the paper 8",
        "pairs of stripes in a mask: 2, 4; in its authors' code 2, 4, 8",
    ):
        assert line in lines
    assert lines[0].startswith("training: 4 steps of 4 images, 0.889 epochs of 18")
    text = report.markdown(comparison_runs.compare(tmp_path))
    assert "**Not a reproduction of scadn/table2. Differences:**" in text
    assert "; 2 held-out normal images; 3 normal and 3 anomalous test images." in text


def test_values_of_paper_or_code_are_not_differences(tmp_path):
    table = papers.table("scadn/table2")
    for preset in ("paper", "reference"):
        comparison_runs.write_run(tmp_path / preset, preset=preset)
        lines = protocol.differences(
            comparison_runs.system_of(tmp_path / preset), table.protocol
        )
        assert not [line for line in lines if "masked pixels" in line]
