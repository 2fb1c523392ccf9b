import numpy as np
import pytest

from benchmarks import against_pytorch, cases, input_pipeline, processes, timing


def test_pairs_alternate_and_keep_their_order():
    called = []

    def sample(name, seconds):
        called.append(name)
        return seconds

    samples = timing.pairs(lambda: sample("a", 1.0), lambda: sample("b", 3.0), 3)
    assert called == ["a", "b", "b", "a", "a", "b"]
    assert samples == [(1.0, 3.0)] * 3
    assert str(timing.times_as_fast(samples)) == "3 (3 to 3)"


def test_no_pair_is_started_after_the_limit():
    assert len(timing.pairs(lambda: 1.0, lambda: 1.0, 5, limit=-1)) == 1


def test_a_slow_minute_that_affects_both_does_not_change_the_ratio():
    samples = [(1.0, 2.0), (10.0, 20.0), (1.1, 2.3)]
    spread = timing.times_as_fast(samples)
    assert spread.median == pytest.approx(2.0)
    assert spread.most == pytest.approx(2.3 / 1.1)


def test_row_of_a_case():
    measured = against_pytorch.Measured(
        case="x",
        form="eager",
        pairs=[(0.5, 1.0), (0.4, 1.2), (0.6, 0.9)],
        first={"jax": 9.0, "pytorch": 2.0},
        peak={"jax": 100.4, "jax, compiled before": 60.0, "pytorch": 200.0},
        before={"jax": 50.0, "pytorch": 60.0},
        gflop=20.0,
        difference=0.1,
        tried={},
    )
    row = measured.row(peak_rate=80.0)
    assert row["JAX, s"] == "0.5 (0.4 to 0.6)"
    assert row["PyTorch, s"] == "1 (0.9 to 1.2)"
    assert row["times as fast"] == "2 (1.5 to 3)"
    assert (row["JAX, GFLOP/s"], row["PyTorch, GFLOP/s"]) == (40, 20)
    assert row["of peak, %"] == 50
    assert (row["JAX: peak, MiB"], row["PyTorch: peak, MiB"]) == (100, 200)


@pytest.mark.parametrize(
    ("task", "name", "change", "differs"),
    [
        ("scadn-step", "0/generator_loss", 1.01, True),
        ("scadn-step", "1/generator_loss", 1.01, False),
        ("scadn-step", "0/generator_gradient_norm", 1.0005, False),
        ("scadn-step", "0/generator_loss", 1.0005, True),
        ("scadn-step", "1/generator_gradient_norm", 1.03, True),
        ("scadn-score", "0/maps", 1.01, True),
        ("scadn-score", "0/maps", np.nan, True),
    ],
)
def test_outputs_that_differ_are_named(tmp_path, task, name, change, differs):
    case = cases.Case(task, 32, 1)
    mine, theirs = tmp_path / "mine.npz", tmp_path / "theirs.npz"
    np.savez(mine, **{name: np.float32(2)})
    np.savez(theirs, **{name: np.float32(2 * change)})
    if differs:
        with pytest.raises(against_pytorch.OutputsDifferError, match=name):
            against_pytorch._difference(case, mine, theirs)
    else:
        assert 0.4 < against_pytorch._difference(case, mine, theirs) < 1


def test_an_output_of_only_one_framework_is_named(tmp_path):
    for stem, names in (("mine", "ab"), ("theirs", "a")):
        np.savez(tmp_path / f"{stem}.npz", **{f"0/{n}": np.ones(1) for n in names})
    with pytest.raises(against_pytorch.OutputsDifferError, match="0/b"):
        against_pytorch._difference(
            cases.CASES[0], tmp_path / "mine.npz", tmp_path / "theirs.npz"
        )


def test_names_of_cases_are_different_and_survive_json():
    assert len({case.name for case in cases.CASES}) == len(cases.CASES)
    case = cases.Case("utad-score", 32, 1, (("impression.pools", (2, 2)),))
    values = {"task": "utad-score", "size": 32, "batch": 1}
    changes = [["impression.pools", [2, 2]]]
    assert cases.from_json(values | {"changes": changes}) == case


def test_a_worker_answers_and_reports_why_it_died(tmp_path):
    task = {"framework": "jax", "compared": 1, "outputs": ""}
    case = {"task": "matrix-product", "size": 8, "batch": 1, "changes": []}
    with processes.Worker(task | {"case": case}, tmp_path) as worker:
        assert worker.ask("call")["seconds"] > 0
        memory = worker.ask("memory")
        assert 20 < memory["before"] <= memory["peak"]
        with pytest.raises(
            processes.WorkerError, match="died with status 1: TypeError"
        ):
            worker.ask("flops")  # only PyTorch counts FLOPs


def test_a_worker_that_takes_too_long_is_an_error(tmp_path):
    task = {"framework": "jax", "compared": 1, "outputs": ""}
    case = {"task": "matrix-product", "size": 8, "batch": 1, "changes": []}
    raises = pytest.raises(processes.WorkerError, match=r"no answer within 0\.01 s")
    with processes.Worker(task | {"case": case}, tmp_path) as worker, raises:
        worker.ask("call", timeout=0.01)  # JAX is still being imported


def test_training_from_files_is_measured(tmp_path):
    input_pipeline.write_images(tmp_path, 4, 32)
    config = input_pipeline.settings(str(tmp_path), kept=False)
    assert config.data.cache_mb == 0
    config.data.held_out = 0.0
    config.data.size = 32
    config.data.threads = 1
    config.training.batch_size = 2
    config.model.width = config.model.discriminator_width = 4
    config.model.blocks = 1
    results = input_pipeline.compare(config, rounds=2, steps=3)
    assert len(results["pairs"]) == len(results["alone"]) == 2
    row = input_pipeline._row(**results)
    assert row["from files, steps/s"] > 0
