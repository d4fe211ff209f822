"""launch/tpu_vm.sh with a stand-in for gcloud that runs on this machine what the slice's machines would run."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "launch" / "tpu_vm.sh"
ARGUMENTS = ["--config", "experiments/x.py:two words", "--workdir", "/runs/it's"]
SLICE = {"NAME": "kl", "ZONE": "z", "ACCELERATOR": "v5litepod-16", "VERSION": "v2", "STORAGE": "10.0.0.2:/runs"}

STUBS = {
    # The home of "all machines" is $MACHINE.
    "gcloud": """
echo "${*:4}" | head -n 1 >> "$CALLS"
case $4 in
  describe) [[ -n ${STATE-} ]] && echo "$STATE" ;;
  scp) cp "$5" "$MACHINE/${6#*:}" ;;
  ssh) for word; do [[ $word != --command=* ]] || HOME=$MACHINE bash -c "${word#--command=}"; done ;;
esac
""",
    # Root's work is written down; only the unit is started, in the foreground, without systemd.
    "sudo": """
echo "sudo $*" >> "$CALLS"
[[ $1 == systemd-run ]] || exit 0
shift
while [[ $1 == --* ]]; do shift; done
exec "$@"
""",
    "mountpoint": "exit 1",
    "journalctl": 'echo "journalctl $*" >> "$CALLS"',
    # `pip install uv` and what uv makes: an environment whose tokjax writes down how it was called.
    "python3": """
mkdir -p "$HOME/.local/bin"
ln -sf "$(dirname "$0")/uv" "$HOME/.local/bin/uv"
""",
    "uv": """
echo "uv $*" >> "$CALLS"
mkdir -p .venv/bin
ln -sf "$(dirname "$(readlink "$0")")/tokjax" .venv/bin/tokjax
""",
    "tokjax": 'printf "[%s]" "$@" > "$CALLS.tokjax"',
}


@pytest.fixture
def run(tmp_path):
    """run(*words, **environment) -> the script, run to its end; tmp_path/calls lists the calls, tmp_path/machine is the slice."""
    for name in ("bin", "machine"):
        (tmp_path / name).mkdir()
    for name, body in STUBS.items():
        (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    own = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}
    own |= {"MACHINE": str(tmp_path / "machine"), "HOME": str(tmp_path)}

    def call(*words: str, **environment: str) -> subprocess.CompletedProcess:
        everything = own | SLICE | environment
        return subprocess.run(["bash", SCRIPT, *words], env=everything, capture_output=True, text=True, timeout=60)

    return call


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def test_create_installs_the_checkout_and_run_starts_a_unit_on_all_machines(run, tmp_path):
    created = run("create", SPOT="yes")
    assert created.returncode == 0, created.stderr
    made = calls(tmp_path)
    assert made[0] == "create kl --zone=z --accelerator-type=v5litepod-16 --version=v2 --spot"
    assert made[1].startswith("scp ") and made[1].endswith(" kl:tokjax.tar.gz --zone=z --worker=all")
    assert made[2].startswith("ssh kl --zone=z --worker=all --command=")
    assert "sudo mount --types nfs 10.0.0.2:/runs /runs" in made
    assert made[-1] == "uv pip install --quiet --python .venv/bin/python .[tpu]"
    assert (tmp_path / "machine" / "tokjax" / "pyproject.toml").is_file()
    assert not (tmp_path / "calls.tokjax").exists()

    started = run("run", *ARGUMENTS)
    assert started.returncode == 0, started.stderr
    assert (tmp_path / "calls.tokjax").read_text() == "".join(f"[{word}]" for word in ["train", "--distributed", *ARGUMENTS])
    unit = next(call for call in calls(tmp_path) if call.startswith("sudo systemd-run"))
    for rule in ("Restart=on-failure", "RestartForceExitStatus=75", "RestartPreventExitStatus=1 2", "TimeoutStopSec=600"):
        assert f"--property={rule} " in unit
    assert f"--working-directory={tmp_path / 'machine' / 'tokjax'} " in unit


@pytest.mark.parametrize(
    ("state", "verbs"),
    [
        ("READY", ["describe", "ssh"]),
        ("PREEMPTED", ["describe", "delete", "create", "scp", "ssh", "ssh"]),
        ("", ["describe", "create", "scp", "ssh", "ssh"]),
    ],
)
def test_resume_makes_the_slice_anew_where_it_was_taken_away(run, tmp_path, state, verbs):
    environment = tmp_path / "machine" / "tokjax" / ".venv" / "bin"
    environment.mkdir(parents=True)
    (environment / "tokjax").symlink_to(tmp_path / "bin" / "tokjax")
    resumed = run("resume", *ARGUMENTS, STATE=state)
    assert resumed.returncode == 0, resumed.stderr
    known = {"describe", "delete", "create", "scp", "ssh"}
    assert [call.split()[0] for call in calls(tmp_path) if call.split()[0] in known] == verbs
    assert "[/runs/it's]" in (tmp_path / "calls.tokjax").read_text()


def test_stop_leaves_the_slice_and_delete_gives_it_back(run, tmp_path):
    assert run("stop").returncode == run("logs").returncode == run("delete").returncode == 0
    made = calls(tmp_path)
    assert made[:2] == ["ssh kl --zone=z --worker=all --command=sudo systemctl stop tokjax", "sudo systemctl stop tokjax"]
    assert made[2].startswith("ssh kl --zone=z --worker=0 --command=") and made[3].startswith("journalctl --unit=tokjax --follow")
    assert made[4] == "delete kl --zone=z --quiet"


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (("create",), {"STORAGE": ""}, "set STORAGE; the head of this script shows an example"),
        (("stop",), {"ZONE": ""}, "set NAME and ZONE; the head of this script shows an example"),
        (("run",), {}, "give the arguments of tokjax train: --config ... --workdir /runs/..."),
        (("strat",), {}, "say what to do: create, run, logs, stop, resume or delete"),
        ((), {}, "say what to do: create, run, logs, stop, resume or delete"),
    ],
)
def test_what_is_missing_is_said_before_gcloud_is_called(run, tmp_path, words, environment, message):
    ended = run(*words, **environment)
    assert ended.returncode == 2 and ended.stderr == f"tpu_vm.sh: {message}\n"
    assert not (tmp_path / "calls").exists()
