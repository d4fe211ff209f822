"""launch/gke.sh with a stand-in for kubectl, and what Kubernetes would make of launch/gke.yaml."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tokjax.cli import main

LAUNCH = Path(__file__).parents[2] / "launch"
ARGUMENTS = ["--config", 'no such/"file" \\.py:two words', "--workdir", "/runs/${NAME}", "--config.seed=7"]
KUBECTL = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$CALLS.arguments"
cat > "$CALLS.yaml"
"""


@pytest.fixture
def start(tmp_path):
    """start(kind, *arguments, **environment) -> the script, run to its end."""
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        named = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")} | environment
        return subprocess.run(["bash", LAUNCH / "gke.sh", *arguments], env=named, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def applied(start, tmp_path):
    """applied(kind, **environment) -> the JobSet that kubectl was given and asked to apply."""

    def apply(kind: str, **environment: str) -> dict:
        run = start(kind, *ARGUMENTS, IMAGE="images/tokjax:1", **environment)
        assert run.returncode == 0, run.stderr
        asked = (tmp_path / "calls.arguments").read_text().split()
        assert asked == ["apply", f"--selector=accelerator={kind}", "--filename=-"]
        documents = yaml.safe_load_all((tmp_path / "calls.yaml").read_text())
        (chosen,) = (one for one in documents if one["metadata"]["labels"]["accelerator"] == kind)
        return chosen

    return apply


def job_of(jobset: dict) -> dict:
    (replicated,) = jobset["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def pod_of(jobset: dict) -> dict:
    return job_of(jobset)["template"]["spec"]


def test_gpu_pods_find_each_other_by_the_name_of_the_first(applied):
    jobset = applied("gpu", NAME="kl", NODES="4")
    (container,), job = pod_of(jobset)["containers"], job_of(jobset)
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert (job["completions"], job["parallelism"], job["completionMode"]) == (4, 4, "Indexed")
    name, group = jobset["metadata"]["name"], jobset["spec"]["replicatedJobs"][0]["name"]
    assert jobset["spec"]["network"] == {"enableDNSHostnames": True, "publishNotReadyAddresses": True}
    assert container["image"] == "images/tokjax:1" and container["command"] == ["tokjax"]
    coordinator = f"{name}-{group}-0-0.{name}:{container['ports'][0]['containerPort']}"
    own = ["train", f"--coordinator={coordinator}", "--processes=4", "--process-id=$(JOB_COMPLETION_INDEX)"]
    assert container["args"] == [*own, *ARGUMENTS]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    assert pod_of(jobset)["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}


def test_tpu_pods_take_a_slice(applied):
    jobset = applied("tpu", NODES="4", TOPOLOGY="4x4", CLAIM="mine")
    (container,) = pod_of(jobset)["containers"]
    assert container["args"] == ["train", "--distributed", *ARGUMENTS]
    assert container["resources"]["limits"] == {"google.com/tpu": "4"}
    assert pod_of(jobset)["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    assert pod_of(jobset)["volumes"][0]["persistentVolumeClaim"] == {"claimName": "mine"}
    topology = jobset["metadata"]["annotations"]["alpha.jobset.sigs.k8s.io/exclusive-topology"]
    assert topology == "cloud.google.com/gke-nodepool"


@pytest.mark.parametrize("kind", ["gpu", "tpu"])
def test_tokjax_understands_what_the_pods_run(applied, capsys, kind):
    """Its own words for the config that does not exist show that the rest was parsed."""
    (container,) = pod_of(applied(kind))["containers"]
    words = [word.replace("$(JOB_COMPLETION_INDEX)", "0") for word in container["args"]]
    assert main(words) == 1
    assert 'no such/"file" \\.py' in capsys.readouterr().err


def outcome(job: dict, code: int, disrupted: bool = False) -> str:
    """What the Job controller does with a pod that ended so: the first rule that matches, else it counts as a failure."""
    for rule in job["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes", {"values": []})
        assert codes.get("operator", "In") == "In" and codes.get("containerName", "tokjax") == "tokjax"
        conditions = [(one["type"], one["status"]) for one in rule.get("onPodConditions", [])]
        if code in codes["values"] or (disrupted and ("DisruptionTarget", "True") in conditions):
            return rule["action"]
    return "Complete" if code == 0 else "Count"


@pytest.mark.parametrize("kind", ["gpu", "tpu"])
def test_only_what_cannot_get_better_ends_the_jobset(applied, kind):
    jobset = applied(kind)
    job, policy = job_of(jobset), jobset["spec"]["failurePolicy"]
    codes = {0: "Complete", 75: "Ignore", 134: "Ignore", 2: "FailJob", 1: "Count", 137: "Count"}
    assert {code: outcome(job, code) for code in codes} == codes
    assert outcome(job, 137, disrupted=True) == "Ignore"
    assert pod_of(jobset)["restartPolicy"] == "Never"  # a pod failure policy asks for it
    assert job["backoffLimit"] == 0 and job["podReplacementPolicy"] == "Failed"
    assert policy["maxRestarts"] > 0 and policy["restartStrategy"] == "BlockingRecreate"
    (rule,) = policy["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    assert pod_of(jobset)["terminationGracePeriodSeconds"] >= 600


def test_the_variants_differ_in_what_is_said_of_the_accelerator_only(applied):
    rest = []
    for kind in ("gpu", "tpu"):
        jobset = applied(kind)
        jobset["metadata"] = jobset["metadata"]["name"]
        (container,), pod = pod_of(jobset)["containers"], pod_of(jobset)
        for name in ("args", "ports", "resources"):
            del container[name]
        del pod["nodeSelector"], pod["tolerations"][0]
        rest.append(jobset)
    assert rest[0] == rest[1]


@pytest.mark.parametrize(
    ("arguments", "image", "message"),
    [
        ((), "x", "say which nodes first, gpu or tpu"),
        (("cpu", "--config", "x"), "x", "say which nodes first, gpu or tpu"),
        (("gpu", "--config", "x"), "", "set IMAGE to the container image"),
        (("gpu",), "x", "give the arguments of tokjax train"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(start, tmp_path, arguments, image, message):
    run = start(*arguments, IMAGE=image)
    assert run.returncode == 2 and run.stderr.startswith(f"gke.sh: {message}") and run.stderr.count("\n") == 1
    assert not (tmp_path / "calls.yaml").exists()
