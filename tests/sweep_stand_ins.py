"""What tests of sweeps need: a file of tiny rows, and a stand-in for Python that trains in no time, as a row's name says."""

from pathlib import Path

FILE = """
from pathlib import Path
from tiny_experiment import config_in
from tokjax.config import stream
from tokjax.sweep.rows import Row, Sweep

HERE = Path(__file__).parent
VARIANTS = {{"codes": None}}

def get_config(variant="codes"):
    config = config_in(HERE / "data", "codes")
    images = stream("images", str(HERE / "data" / "images"), batch=4, resolution=16, crop="centre", flip=False)
    config.data.validation.images = images
    config.model.quantizer.codebook_size = 32 if HERE.joinpath("changed").exists() else 16
    return config

def get_sweep(scale="paper"):
    me = __file__ + ":codes"
    return Sweep(
        title="a <test>",
        rows=({rows}),
        columns=("images/psnr", "images/ssim", "usage"),
        source="Table 9",
    )
"""

TRAINING = """#!/usr/bin/env python3
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index("--workdir") + 1])
row = folder.parent.name
with (folder / "starts").open("a") as file:
    file.write("x")
def stop(*_):
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
if row.startswith("fails"):
    print("some noise")
    print("tokjax: there is no data here")
    sys.exit(1)
if row.startswith("killed"):
    import os
    os.kill(os.getpid(), 9)
if row.startswith("removed"):
    import shutil
    shutil.rmtree(folder)
    sys.exit(1)
if row.endswith("refused"):
    import fcntl, os, socket
    lock = (folder / "lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("tokjax: the workdir is in use")
    lock.write(f"process {os.getpid()} on {socket.gethostname()}")
    lock.flush()
if row.startswith("slow"):
    time.sleep(float((folder.parents[2] / "seconds").read_text()))
(folder / "metrics.jsonl").write_text('{"step": 6, "loss": 0.5, "steps_per_second": 2.0}\\n')
(folder / "checkpoints" / "6").mkdir(parents=True)
(folder / "checkpoints" / "6" / "DIGESTS").touch()
"""


def write_sweep(folder: Path, *rows: str) -> Path:
    """A sweep file in the folder whose rows are these calls of Row, with the experiment as `me`."""
    path = folder / "small.py"
    path.write_text(FILE.format(rows="".join(f"{row}, " for row in rows)))
    return path


def write_training(folder: Path) -> str:
    """The path of the stand-in for Python."""
    from tokjax.training import digests

    path = folder / "python"
    path.write_text(TRAINING.replace("DIGESTS", digests.NAME))
    path.chmod(0o755)
    return str(path)
