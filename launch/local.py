"""Starts several processes of one command on this machine, which train together.

    python -m launch.local --processes=2 --cpu_devices=2 -- \\
        python -m jax_scadn.train --config=configs/digits.py:8

Each process gets --coordinator_address, --num_processes and --process_id. SIGTERM and
Ctrl-C are forwarded, so that all save and exit. Once a process has failed, the others
have `--grace` seconds to notice it; then they are killed.

For tests, and for machines with several CPU sockets. All GPUs of a machine need only
one process.
"""

import os
import signal
import socket
import subprocess
import sys
import time

from absl import app, flags

_PROCESSES = flags.DEFINE_integer("processes", 2, "Number of processes.", lower_bound=1)
_CPU_DEVICES = flags.DEFINE_integer(
    "cpu_devices", 0, "CPU devices to force on each process; 0 = JAX's default."
)
_GRACE = flags.DEFINE_float(
    "grace", 10, "Seconds between the first failure and killing the others."
)


def run(command: list[str], processes: int, cpu_devices: int, grace: float) -> int:
    """Runs several processes of the command.

    Args:
      command: of one process, without its number.
      processes: number of processes.
      cpu_devices: to force on each; 0 = JAX's default.
      grace: seconds between the first failure and killing the others.

    Returns:
      The exit status of the process that failed first (128 + the signal if a signal
      killed it); 0 if none failed.
    """
    environ = dict(os.environ)
    if cpu_devices:
        environ["JAX_PLATFORMS"] = "cpu"
        environ["JAX_NUM_CPU_DEVICES"] = str(cpu_devices)
    told = [f"--coordinator_address=localhost:{_free_port()}",
            f"--num_processes={processes}"]  # fmt: skip
    # In separate sessions: Ctrl-C reaches them once, as SIGTERM from here.
    started = [
        subprocess.Popen(
            [*command, *told, f"--process_id={number}"],
            env=environ,
            start_new_session=True,
        )
        for number in range(processes)
    ]

    def hand_on(*_):
        for process in started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)
    try:
        return _watch(started, grace)
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait()


def _watch(started: list[subprocess.Popen], grace: float) -> int:
    """Waits until all have exited, or `grace` seconds after the first failure."""
    first, deadline = None, 0.0
    while True:
        ended = {number: process.poll() for number, process in enumerate(started)}
        failed = [number for number, status in ended.items() if status]
        if failed and first is None:
            # One that was killed was the first: others fail for want of it.
            first = min(failed, key=lambda number: ended[number] > 0)
            deadline = time.monotonic() + grace
            _say(f"process {first} {_end(ended[first])}; the others must stop")
        left = [number for number, status in ended.items() if status is None]
        if left and first is not None and time.monotonic() > deadline:
            _say(f"killing processes {left}, {grace:g} s after the first one failed")
            left = []
        if not left:
            break
        time.sleep(0.05)
    status = 0 if first is None else ended[first]
    return 128 - status if status < 0 else status


def _end(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def _say(text: str) -> None:
    print(f"launch.local: {text}", file=sys.stderr, flush=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def main(argv: list[str]) -> int:
    if len(argv) < 2:
        raise app.UsageError("give the command of one process after --")
    try:
        return run(argv[1:], _PROCESSES.value, _CPU_DEVICES.value, _GRACE.value)
    except OSError as error:
        _say(f"cannot start the command: {error}")
        return 127


if __name__ == "__main__":
    app.run(main)
