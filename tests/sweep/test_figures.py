"""Rate against distortion, and the radar, drawn where the numbers say."""

import re

import pytest

from tokjax.config import ConfigError
from tokjax.sweep.figures import INNER, RADIUS, SIZE, radar_plot, radar_shares, rate_distortion_plot
from tokjax.sweep.models_page import figures, models_page


def test_points_stand_at_their_rate_and_quality():
    svg = rate_distortion_plot("PSNR by rate", {"a": (0.1, 20.0), "b": (0.2, 30.0), "<c>": (0.4, 25.0)})
    (ax, ay), (bx, by), (cx, cy) = [tuple(map(float, one)) for one in re.findall(r'class="dot" cx="([\d.]+)" cy="([\d.]+)"', svg)]
    assert (cx - ax) / (bx - ax) == pytest.approx(3, abs=0.01)
    assert (ay - by) / (ay - cy) == pytest.approx(2, abs=0.01)
    assert "&lt;c&gt;" in svg and "<c>" not in svg


def test_the_best_of_an_axis_is_outside_and_the_worst_inside():
    values = {"PSNR": [20.0, 30.0, 25.0], "LPIPS": [0.1, 0.3, 0.2], "same": [1.0, 1.0, 1.0]}
    more = {"PSNR": True, "LPIPS": False, "same": True}
    assert radar_shares(values, more) == {"PSNR": [0, 1, 0.5], "LPIPS": [1, 0, pytest.approx(0.5)], "same": [1, 1, 1]}
    svg = radar_plot("r", ["a", "b", "c"], values, more)
    polygons = re.findall(r'<g class="s\d"><path d="M([\d.]+) ([\d.]+)L', svg)[3:]
    heights = [SIZE / 2 - float(y) for _, y in polygons]  # the first axis points upwards
    assert heights == pytest.approx([RADIUS * INNER, RADIUS, RADIUS * (1 + INNER) / 2], abs=0.06)


def test_figures_are_those_that_the_numbers_allow():
    coded = {"bits_per_pixel": 0.1, "videos/psnr": 20.0, "videos/ssim": 0.5, "videos/lpips_vgg16": 0.3}
    columns = ("videos/psnr", "videos/ssim", "videos/lpips_vgg16")
    two = figures({"vq": coded, "kl": {key: coded[key] for key in columns}}, columns)
    assert two.count("<figure") == 3, "PSNR and LPIPS by rate, and the radar"
    assert "Continuous latents have no rate and stand in no plot by rate: kl." in two
    assert figures({"vq": coded}, columns).count("<figure") == 2, "one model makes no radar"
    assert figures({}, columns) == ""


def evaluation(folder, name, preset, psnr, bits):
    import json

    one = {"psnr": psnr, "ssim": 0.5, "lpips_vgg16": 0.1, "clips": 1, "frames": 1}
    content = {
        "model": {"name": name},
        "streams": {"videos": one},
        "protocol": {"preset": preset},
        "cost": {"bits_per_pixel": bits},
    }
    folder.mkdir()
    (folder / "evaluation.json").write_text(json.dumps(content))
    return folder


def test_a_page_of_any_evaluated_models(tmp_path):
    a, b = evaluation(tmp_path / "a", "A", "vidtok", 30.0, 0.06), evaluation(tmp_path / "b", "B", "vidtok", 28.0, None)
    page = models_page([a, b])
    assert page.count("<figure") == 3 and "no plot by rate: B." in page and "<td>28.00</td>" in page
    other = evaluation(tmp_path / "c", "C", "omnitokenizer-video", 28.0, None)
    with pytest.raises(ConfigError, match=r"by different protocols \(omnitokenizer-video, vidtok\)"):
        models_page([a, other])
