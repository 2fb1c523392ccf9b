"""Several processes: detection, rows of batches, and real ones on this machine."""

import re

import conftest
import jax
import numpy as np
import processes
import pytest

from jax_scadn.data import pipeline, sources
from jax_scadn.runtime import distributed, errors, sharding


def test_detection_by_flags_slurm_and_kubernetes():
    def detect(environ, *flags):
        return distributed.detect_cluster(environ, *(flags or ("", 0, -1)))

    assert detect({}) is None
    assert detect({"SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_ID": "7"}) is None
    assert detect({"JOB_COMPLETION_INDEX": "3"}) is None  # independent runs
    slurm = {"cluster_detection_method": "slurm"}
    assert detect({"SLURM_STEP_NUM_TASKS": "2"}) == slurm
    wanted = {
        "coordinator_address": "a:1",
        "num_processes": 4,
        "process_id": 0,
        "cluster_detection_method": "deactivate",
    }
    assert detect({"SLURM_STEP_NUM_TASKS": "2"}, "a:1", 4, 0) == wanted
    kubernetes = {
        "JAX_COORDINATOR_ADDRESS": "b:2",
        "NUM_PROCESSES": "2",
        "JOB_COMPLETION_INDEX": "1",
    }
    cluster = detect(kubernetes)
    assert cluster == wanted | {
        "coordinator_address": "b:2",
        "num_processes": 2,
        "process_id": 1,
    }


@pytest.mark.parametrize(
    ("environ", "flags", "message"),
    [
        ({}, ("", 2, 0), "give --coordinator_address"),
        ({}, ("a:1", 2, -1), "process -1 of 2: give"),
        ({}, ("a:1", 2, 2), "process 2 of 2: give"),
        ({}, ("a:1", 1, 1), "process 1 of 1: give"),
        ({}, ("a", 2, 0), "'a' must be HOST:PORT"),
        ({}, ("a:99999", 2, 0), "'a:99999' must be HOST:PORT"),
        ({"JAX_COORDINATOR_ADDRESS": "a:1"}, ("", 0, 0), "process 0 of 0: give"),
        (
            {"JAX_COORDINATOR_ADDRESS": "a:1", "NUM_PROCESSES": "two"},
            ("", 0, 0),
            "NUM_PROCESSES=two",
        ),
    ],
)
def test_invalid_clusters_are_refused(environ, flags, message):
    with pytest.raises(errors.UserError, match=re.escape(message)):
        distributed.detect_cluster(environ, *flags)


def as_process(monkeypatch, process, processes):
    monkeypatch.setattr(jax, "process_index", lambda: process)
    monkeypatch.setattr(jax, "process_count", lambda: processes)


@pytest.mark.parametrize("images", [16, 18, 19, 23])
def test_processes_read_their_rows_of_the_same_batches(monkeypatch, images):
    """Over several epochs, with a last batch that is dropped, and after a restart."""
    data = conftest.tiny(data__flip=True).data
    source = pipeline.Images(sources.load(data, 0).train.subset(range(images)))

    def iterator(process, processes):
        as_process(monkeypatch, process, processes)
        return pipeline.training_iterator(source, 8, 3, True, 1)

    def batches(iterator, count):
        return np.stack([next(iterator)["image"] for _ in range(count)])

    single = iterator(0, 1)
    expected = batches(single, 7)
    for count in (2, 4):
        parts = [iterator(process, count) for process in range(count)]
        rows = [batches(part, 3) for part in parts]
        positions = [part.get_state() for part in parts]
        assert all(position == positions[0] for position in positions)
        for row in rows:
            assert row.shape[1] == 8 // count
        # 8-bit images have become 16-bit ones of the same brightness.
        np.testing.assert_array_equal(
            np.concatenate(rows, axis=1), expected[:3].astype(np.uint16) * 257
        )
        single = iterator(0, 1)
        single.set_state(positions[-1])
        np.testing.assert_array_equal(batches(single, 4), expected[3:])


def test_processes_score_their_rows_and_know_all_indices(monkeypatch):
    split = sources.load(conftest.tiny().data, 0).train.subset(range(11))
    as_process(monkeypatch, 0, 1)
    expected = list(pipeline.padded_batches(split, 4, threads=0))
    parts = []
    for process in (0, 1):
        as_process(monkeypatch, process, 2)
        parts.append(list(pipeline.padded_batches(split, 4, threads=0)))
    for batch, *rows in zip(expected, *parts, strict=True):
        images = np.concatenate([part["image"] for part in rows])
        np.testing.assert_array_equal(images, batch["image"].astype(np.uint16) * 257)
        for part in rows:
            np.testing.assert_array_equal(part["index"], batch["index"])
            np.testing.assert_array_equal(part["_mask"], batch["_mask"])


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch):
    as_process(monkeypatch, 0, 3)
    with pytest.raises(errors.UserError, match="3 processes cannot share a batch of 4"):
        sharding.mesh(4)
    with pytest.raises(errors.UserError, match="--variant_batching=map"):
        sharding.variant_mesh(4)


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    """Killed processes are tested in tests/launch."""
    single, several = tmp_path / "single", tmp_path / "several"
    status, _, error = processes.finish(processes.start(single, 1, 1))
    assert status == 0, error[-3000:]
    status, out, error = processes.finish(processes.start(several, 2, 2))
    assert status == 0, error[-3000:]
    assert out.count("threshold") == 1  # only process 0 prints
    expected, actual = processes.losses(single), processes.losses(several)
    assert list(expected) == list(actual) == list(range(1, 21))
    np.testing.assert_allclose(
        list(actual.values()), list(expected.values()), rtol=1e-4
    )
    assert processes.table(several) == processes.table(single)
