import json

import pytest

from jax_scadn.training import logs

LINES = [json.dumps({"step": step, "loss": 0.5}) + "\n" for step in (1, 2, 3, 4)]


def resumed(tmp_path, content, last_step=3):
    """The log as a run writes on to it, resumed after a step."""
    path = tmp_path / logs.LOG
    path.write_bytes(content)
    with logs._opened_after(path, last_step):
        return path.read_text()


def test_steps_beyond_the_checkpoint_are_dropped(tmp_path, caplog):
    assert resumed(tmp_path, "".join(LINES).encode()) == "".join(LINES[:3])
    cut = "".join(LINES[:3])[:-5]  # as a kill leaves it
    assert resumed(tmp_path, cut.encode()) == "".join(LINES[:2])
    assert not caplog.records


@pytest.mark.parametrize(
    "damaged",
    [
        b"no json\n",
        b"{}\n",
        b"[]\n",
        b"\n",
        b"\xff\x00\n",
        b'{"step": "1"}\n',
        b"[" * 9999,
    ],
)
def test_damaged_lines_are_dropped_and_said(tmp_path, caplog, damaged):
    first, *rest = (line.encode() for line in LINES)
    content = b"".join([first, damaged, *rest])
    assert LINES[0] in resumed(tmp_path, content)
    (record,) = caplog.records
    assert "log.jsonl: 1 lines are damaged" in record.getMessage()
