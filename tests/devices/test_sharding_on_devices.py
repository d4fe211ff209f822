"""Meshes, batches and checkpoints on 8 fake devices and on 2 processes, each in processes of its own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import QUICK

HERE = Path(__file__).parent


def start(script: str, devices: int, *arguments: object) -> subprocess.Popen:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parents[1])}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices} {QUICK}"
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen) -> dict:
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    return answer(start("on_eight_devices.py", 8, tmp_path_factory.mktemp("eight")))


@pytest.mark.parametrize("count", [8, 4, 1])
def test_a_state_saved_on_8_devices_is_bitwise_the_same_on(eight, count):
    found = eight["restored"][str(count)]
    assert found["equal"]
    assert found["devices"] == count
    assert found["kernel"] == found["moment"] == [3, 3, 64, 128 // count]
    assert found["bias"] == [128]


def test_the_batch_lies_over_data_and_fsdp_and_the_height_over_context(eight):
    found = eight["batch"]
    assert found["mesh"] == {"data": 2, "fsdp": 2, "context": 2, "tensor": 1}
    assert found["parts"] == [[2, 3, 8, 5, 3]]
    assert found["equal"] and found["same_rule"]


def test_clips_that_the_mesh_does_not_divide_are_refused(eight):
    assert eight["batch"]["batch"] == "a batch of 6 clips does not split over 4 devices (data × fsdp); use a multiple of 4"
    assert eight["batch"]["height"] == "clips 15 high do not split over 2 devices (context); use a multiple of 2"


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [start("on_two_processes.py", 2, directory, port, index) for index in (0, 1)]
    return directory, [answer(process) for process in processes]


@pytest.mark.slow
def test_two_processes_save_and_restore_as_one(two):
    directory, answers = two
    for found in (one["saved"] for one in answers):
        assert found["empty"]
        assert found["steps"] == [2, 3]
        assert found["step"] == 2 and found["record"] == {"step": 2} and found["equal"]
        assert found["shard"] == [2**16 // 4]
        assert found["after"] == [2, 3]
    assert (directory / "3.damaged").is_dir()


def test_all_processes_stop_where_nothing_is_intact(two):
    first, second = (one["saved"]["error"] for one in two[1])
    assert "step 3: record/metadata has 0 bytes" in first and "step 2: record/metadata has 0 bytes" in first
    assert "no intact checkpoint in" in second and "the first process says which files" in second


def test_each_process_feeds_its_own_rows(two):
    for found in (one["batch"] for one in two[1]):
        assert found == {"shape": [8, 1, 2, 2, 3], "rows_in_place": True, "sum": sum(range(8)) * 12}


def test_a_context_axis_that_reaches_across_processes_is_refused(two):
    for one in two[1]:
        assert "context=4 reaches across processes" in one["context"] and "must divide the 2 devices" in one["context"]
