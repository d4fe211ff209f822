"""Schedulers with stand-ins for their commands: one job a run, the launch scripts around it, and none twice."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from sweep_stand_ins import write_sweep

from tokjax.config import ConfigError
from tokjax.experiment import load_experiment
from tokjax.sweep.launchers import print_commands, submit_gke, submit_slurm
from tokjax.sweep.queues import with_queues
from tokjax.sweep.rows import load_sweep, planned_runs
from tokjax.sweep.states import FAILED, QUEUED, STOPPED, state_of
from tokjax.training.ending import recorded_end

COMMANDS = {
    "sbatch": 'printf "%s\\n" "$@" >> "$CALLS.sbatch"\necho "42;cluster"\n',
    "squeue": 'echo "squeue $*" >> "$CALLS"\ncat "$CALLS.queue" 2>/dev/null\n',
    "srun": 'printf "[%s]" "$@" >> "$CALLS.srun"\n',
    "kubectl": 'echo "$@" >> "$CALLS"\n[[ $1 == get ]] && cat "$CALLS.jobset" 2>/dev/null\ncat >> "$CALLS.yaml"\n',
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """(workdir, two runs), with stand-ins on the path; calls are in tmp_path/calls*."""
    (tmp_path / "bin").mkdir()
    for name, body in COMMANDS.items():
        (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{body}")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    path = write_sweep(tmp_path, "Row('a', me, {'optimizer.freeze': ('encoder',)})", "Row('b_b', me, seeds=(0, 1))")
    (tmp_path / "w").mkdir()
    return tmp_path / "w", planned_runs(load_sweep(str(path))[1])


def test_slurm_gets_one_array_with_a_task_for_each_run(place, tmp_path):
    workdir, runs = place
    assert submit_slurm(workdir, runs, "--gpus-per-node=8 --time='1:00:00'") == "submitted 3 runs as Slurm job 42"
    words = (tmp_path / "calls.sbatch").read_text().splitlines()
    assert words[:2] == ["--parsable", "--array=0-2"] and words[3:] == [
        "--gpus-per-node=8",
        "--time=1:00:00",
        str(workdir / "slurm_array.sh"),
    ]
    assert state_of(workdir, runs[2]).name == QUEUED and state_of(workdir, runs[2]).reason == "Slurm job 42_2"


def test_a_task_of_the_array_trains_its_run_as_the_launch_script_does(place, tmp_path):
    workdir, runs = place
    submit_slurm(workdir, runs, "")
    script = workdir / "slurm_array.sh"
    asked = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    launch = Path(__file__).parents[2] / "launch" / "slurm.sh"
    assert asked == [line for line in launch.read_text().splitlines() if line.startswith("#SBATCH")] and asked
    environment = dict(os.environ) | {"SLURM_ARRAY_TASK_ID": "0", "SLURM_JOB_ID": "43"}
    assert subprocess.run(["bash", str(script)], env=environment, timeout=60).returncode == 0
    folder = workdir / "rows/a/seed_0"
    trained = ["tokjax", "train", "--distributed", "--workdir", str(folder), "--config", str(folder / "planned.json")]
    assert (tmp_path / "calls.srun").read_text() == "".join(f"[{word}]" for word in ["--kill-on-bad-exit=0", *trained])


def test_what_is_in_the_queue_is_not_submitted_again(place, tmp_path):
    workdir, runs = place
    submit_slurm(workdir, runs, "")
    (tmp_path / "calls.queue").write_text("PENDING\n")
    assert submit_slurm(workdir, runs, "") == "all runs that are left are in the queue"
    assert (tmp_path / "calls").read_text().splitlines()[0] == "squeue --noheader --jobs=42_0 --format=%T"
    (tmp_path / "calls.queue").write_text("")
    assert submit_slurm(workdir, runs, "") == "submitted 3 runs as Slurm job 42"


def test_a_scheduler_that_does_not_answer_gets_no_second_job(place, tmp_path):
    workdir, runs = place
    submit_slurm(workdir, runs, "")
    squeue = tmp_path / "bin" / "squeue"
    squeue.write_text("#!/usr/bin/env bash\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2\nexit 1\n")
    with pytest.raises(ConfigError, match="squeue does not tell what is in the queue: slurm_load_jobs error: Unable to contact"):
        submit_slurm(workdir, runs, "")
    squeue.write_text("#!/usr/bin/env bash\necho 'slurm_load_jobs error: Invalid job id specified' >&2\nexit 1\n")
    assert submit_slurm(workdir, runs, "") == "submitted 3 runs as Slurm job 42"


def test_a_submitted_run_that_failed_shows_why(place, tmp_path, monkeypatch):
    workdir, runs = place

    def seen(run):
        return with_queues(workdir, {run.id: state_of(workdir, run)})[run.id]

    submit_slurm(workdir, runs, "")
    (tmp_path / "calls.queue").write_text("PENDING\n")
    assert (seen(runs[0]).name, seen(runs[0]).reason) == (QUEUED, "Slurm job 42_0")
    (tmp_path / "calls.queue").write_text("")
    (workdir / "slurm_42_0.log").write_text("step 20/100\nslurmstepd: error: Detected 1 oom_kill event in StepId=42.0\n")
    where = "Slurm job 42_0 is not in the queue any more; the last line of"
    assert seen(runs[0]).name == FAILED and seen(runs[0]).reason == (
        f"{where} {workdir}/slurm_42_0.log is: slurmstepd: error: Detected 1 oom_kill event in StepId=42.0"
    )
    assert seen(runs[1]).reason.endswith(f"there is nothing in {workdir}/slurm_42_1.log")
    with pytest.raises(OSError, match="nowhere"), recorded_end(workdir / "rows" / runs[1].id, leader=True):
        raise OSError("no data in nowhere")
    assert (seen(runs[1]).name, seen(runs[1]).reason) == (FAILED, "no data in nowhere")
    with recorded_end(workdir / "rows" / runs[2].id, leader=True) as note:
        note(75)
    assert seen(runs[2]).name == STOPPED, "it was cancelled, and saved"
    (tmp_path / "bin" / "squeue").unlink()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/nowhere")
    assert seen(runs[0]).name == QUEUED, "a machine without squeue does not know better"


def test_a_jobset_is_left_alone_while_it_is_there_and_makes_room_when_it_has_ended(place, tmp_path, monkeypatch):
    workdir, runs = place
    monkeypatch.setenv("IMAGE", "images/tokjax:1")
    submit_gke(workdir, runs[:1], "small", "gpu")
    (tmp_path / "calls.jobset").write_text("small-a-seed-0/")
    assert submit_gke(workdir, runs[:1], "small", "gpu") == "all runs that are left are in the queue"
    assert with_queues(workdir, {runs[0].id: state_of(workdir, runs[0])})[runs[0].id].name == QUEUED
    (tmp_path / "calls.jobset").write_text("small-a-seed-0/Failed")
    seen = with_queues(workdir, {runs[0].id: state_of(workdir, runs[0])})[runs[0].id]
    assert seen.name == FAILED and seen.reason.startswith(
        "JobSet small-a-seed-0 is not in the queue any more; its events and logs"
    )
    assert submit_gke(workdir, runs[:1], "small", "gpu") == "applied 1 JobSets: small-a-seed-0"
    calls = [line.split()[0] for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == ["get", "apply", "get", "get", "get", "get", "delete", "apply"]


def test_gke_gets_a_jobset_for_each_run(place, tmp_path, monkeypatch):
    workdir, runs = place
    monkeypatch.setenv("IMAGE", "images/tokjax:1")
    assert submit_gke(workdir, runs, "small:laptop", "gpu").startswith(
        "applied 3 JobSets: small-laptop-a-seed-0, small-laptop-b-b-"
    )
    text = (tmp_path / "calls.yaml").read_text()
    for name in ("small-laptop-a-seed-0", "small-laptop-b-b-seed-1"):
        assert f'name: "{name}"' in text
    assert f'- "{workdir}/rows/b_b/seed_1"' in text and f'- "{workdir}/rows/b_b/seed_1/planned.json"' in text
    assert (tmp_path / "calls").read_text().count("apply") == 3
    with pytest.raises(ConfigError, match="say which nodes, --options gpu or --options tpu"):
        submit_gke(workdir, runs, "small", "")


def test_a_scheduler_that_refuses_is_quoted(place, tmp_path, monkeypatch):
    workdir, runs = place
    (tmp_path / "bin" / "sbatch").write_text("#!/usr/bin/env bash\necho 'sbatch: error: no such partition' >&2\nexit 1\n")
    with pytest.raises(ConfigError, match="sbatch refused: sbatch: error: no such partition"):
        submit_slurm(workdir, runs, "--partition=x")
    with pytest.raises(ConfigError, match=r"cannot read --options .*: no closing quotation"):
        submit_slurm(workdir, runs, "--comment='x")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no sbatch here; submit from a machine that has it"):
        submit_slurm(workdir, runs, "")


def test_printed_commands_are_those_of_a_person(place, capsys):
    workdir, runs = place
    print_commands(workdir, runs)
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    folders = [workdir / "rows" / run.id for run in runs]
    words = ["tokjax", "train", "--workdir"]
    assert lines == [[*words, str(folder), "--config", str(folder / "planned.json")] for folder in folders]
    assert [load_experiment(line[-1]) for line in lines] == [run.config for run in runs]
