"""The report in a real browser, offline: everything shows, nothing is wider than a phone, the keyboard reaches what moves."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from tokjax.evaluation.examples import Picture
from tokjax.evaluation.report import write_report

LOOK = """<script>
const boxes = [...document.querySelectorAll("input")];
const moving = document.querySelector(".moving");
function reached(one) { one.focus(); return document.activeElement === one; }
const found = {
  width: window.innerWidth,
  overflow: document.documentElement.scrollWidth - window.innerWidth,
  images: [...document.images].map(image => image.naturalWidth),
  bars: [...document.querySelectorAll("rect.bar")].filter(bar => bar.getBoundingClientRect().height > 0).length,
  shown: moving.offsetHeight,
  reachable: [...document.querySelectorAll("input, summary, [tabindex='0']")].filter(reached).length,
  fetched: performance.getEntriesByType("resource").filter(one => !one.name.startsWith("data:")).length,
};
boxes[0].click();
found.hidden = moving.offsetHeight;
boxes[0].click(); boxes[1].click();
found.larger = moving.offsetWidth;
found.overflowThen = document.documentElement.scrollWidth - window.innerWidth;
document.title = "FOUND" + JSON.stringify(found);
</script>"""


@pytest.fixture(scope="module")
def browser():
    name = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None)
    if name is None:
        pytest.skip("no Chromium is installed here (Debian's package chromium)")
    return name


def test_the_report_on_a_phone(browser, tmp_path):
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (4, 64, 64, 3), np.uint8)
    book = {"size": 64, "codes_counted": 9, "usage": 0.5, "perplexity": 3.0, "entropy_bits": 1.0, "dead_codes": 32}
    book["shares_by_rank"] = [0.5, 0.3, 0.2]
    psnr = {"clips": 2, "frames": 8, "psnr": 29.0, "ssim": 0.8, "psnr_per_frame": [30.0, 29.0, 28.0, 27.0], "codebook": book}
    model = {"name": "a_long_name_of_a_model_" * 4}
    write_report(
        tmp_path / "report.html",
        {"streams": {"videos": psnr}, "codebook": book, "model": model, "warnings": ["few samples"]},
        [{"step": step, "loss": 1.0 / (step + 1)} for step in range(4)],
        [Picture("videos / a", video, 255 - video, "best, 31.00 dB"), Picture("images / b", video[:1], video[:1])],
        {"videos / a": rng.integers(0, 256, (2, 8, 8, 3), np.uint8)},
    )
    text = (tmp_path / "report.html").read_text().replace("</body>", LOOK + "</body>")
    (tmp_path / "looked_at.html").write_text(text)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=390,844"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run(
        [browser, *options, f"file://{tmp_path / 'looked_at.html'}"], capture_output=True, text=True, timeout=120
    )
    match = re.search(r"<title>FOUND(.*?)</title>", done.stdout)
    assert match, done.stderr[-2000:]
    found = json.loads(match.group(1))
    assert found["width"] <= 500 and found["overflow"] <= 0 and found["overflowThen"] <= 0
    assert len(found["images"]) == 1 + 3 + 3 + 1 and min(found["images"]) > 0
    assert found["bars"] == 3 and found["fetched"] == 0
    assert found["shown"] > 0 and found["hidden"] == 0 and found["larger"] >= 900
    assert found["reachable"] >= 2 + 3 + 1  # two boxes, three strips, the model's section
