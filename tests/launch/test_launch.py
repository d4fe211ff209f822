"""The launch scripts with stand-ins for Slurm's commands and for tokjax, which write down how they were called."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"
ARGUMENTS = ["--config", "experiments/x.py:two words", "--workdir", "/shared/run"]

STUBS = {
    # Runs what it is given until that ends. The real one, too, kills its tasks when it gets SIGTERM.
    "srun": """
echo "srun $*" >> "$CALLS"
trap 'echo killed >> "$CALLS"; exit 137' TERM
while [[ $1 == -* ]]; do shift; done
"$@" &
echo $! > "$CALLS.task"
wait $!
""",
    "tokjax": """
echo "tokjax devices=${JAX_LOCAL_DEVICE_IDS-unset}" >> "$CALLS"
printf '[%s]' "$@" >> "$CALLS.arguments"
trap 'sleep 0.3; exit 75' TERM
touch "$CALLS.ready"
for _ in $(seq "${TOKJAX_TENTHS:-0}"); do sleep 0.1; done
exit "${TOKJAX_CODE:-0}"
""",
    "scancel": """
echo "scancel $*" >> "$CALLS"
kill -TERM "$(cat "$CALLS.task")"
""",
    "squeue": """
echo "${JOB_STATE-RUNNING}"
""",
    "scontrol": """
echo "scontrol $*" >> "$CALLS"
""",
}


@pytest.fixture
def start(tmp_path):
    """start(script, **environment) -> the running script; tmp_path/calls lists the calls."""
    (tmp_path / "bin").mkdir()
    for name, body in STUBS.items():
        stub = tmp_path / "bin" / name
        stub.write_text(f"#!/usr/bin/env bash{body}")
        stub.chmod(0o755)

    def run(script: str, **environment: str) -> subprocess.Popen:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "JAX"))}
        clean |= {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), "SLURM_JOB_ID": "42"}
        return subprocess.Popen(["bash", str(LAUNCH / script), *ARGUMENTS], env=clean | environment)

    return run


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def wait_until_ready(tmp_path: Path) -> None:
    for _ in range(100):
        if (tmp_path / "calls.ready").exists():
            return
        time.sleep(0.05)
    raise TimeoutError("the stand-in for tokjax never started")


def test_one_process_per_node_gets_the_arguments_and_all_devices(start, tmp_path):
    assert start("slurm.sh", SLURM_GPUS_ON_NODE="4").wait() == 0
    assert calls(tmp_path) == [
        f"srun --kill-on-bad-exit=0 tokjax train --distributed {' '.join(ARGUMENTS)}",
        "tokjax devices=0,1,2,3",
    ]
    assert (tmp_path / "calls.arguments").read_text() == "".join(f"[{a}]" for a in ["train", "--distributed", *ARGUMENTS])


def test_without_gpus_jax_chooses_its_devices(start, tmp_path):
    assert start("slurm.sh").wait() == 0
    assert calls(tmp_path)[1] == "tokjax devices=unset"


def test_the_job_asks_to_be_warned_and_to_be_requeued():
    options = {line.split()[1] for line in (LAUNCH / "slurm.sh").read_text().splitlines() if line.startswith("#SBATCH")}
    assert {"--requeue", "--signal=TERM@120", "--ntasks-per-node=1", "--open-mode=append"} <= options


@pytest.mark.parametrize(
    ("code", "state", "requeued"),
    [
        (75, "RUNNING", True),
        (75, "", True),
        (75, "COMPLETING", False),
        (0, "RUNNING", False),
        (1, "RUNNING", False),
        (137, "RUNNING", False),
    ],
)
def test_only_a_run_that_stopped_and_saved_is_requeued(start, tmp_path, code, state, requeued):
    assert start("slurm.sh", TOKJAX_CODE=str(code), JOB_STATE=state).wait() == code
    assert ("scontrol requeue 42" in calls(tmp_path)) == requeued


def test_a_warning_to_the_batch_shell_reaches_tokjax_whose_save_is_waited_for(start, tmp_path):
    job = start("slurm.sh", TOKJAX_TENTHS="100")
    wait_until_ready(tmp_path)
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=10) == 75
    assert calls(tmp_path)[2:] == ["scancel --signal=TERM 42.0", "scontrol requeue 42"]


def test_local_runs_tokjax_in_its_place(start, tmp_path):
    job = start("local.sh", TOKJAX_TENTHS="100")
    wait_until_ready(tmp_path)
    job.send_signal(signal.SIGTERM)  # reaches tokjax itself: the shell is gone
    assert job.wait(timeout=10) == 75
    assert (tmp_path / "calls.arguments").read_text() == "".join(f"[{a}]" for a in ["train", *ARGUMENTS])
