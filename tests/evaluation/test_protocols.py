import pytest

from tokjax.evaluation.protocols import METRICS, PROTOCOLS, TASKS, ProtocolError, protocol_named, protocols_of, shortage


def test_presets_say_what_the_papers_did():
    vidtok, video, image = (PROTOCOLS[name] for name in ("vidtok", "omnitokenizer-video", "omnitokenizer-image"))
    assert (vidtok.frames, vidtok.frame_rate, vidtok.clips, vidtok.resize, vidtok.resolution) == (
        17,
        30.0,
        "all",
        "short_side",
        256,
    )
    assert (video.frames, video.frame_rate, video.clips, video.resize, video.half_range) == (17, 16.0, "centre", "stretch", True)
    assert (image.resize, image.interpolation, image.samples, image.jpeg) == ("stretch", "bicubic", 50_000, 0)
    assert PROTOCOLS["vidtok-whole"].frames == 0 and PROTOCOLS["imagenet-rfid-50k"].metrics[0] == "fid_tf1"
    assert all(set(protocol.metrics) <= set(TASKS[protocol.task]) and protocol.source for protocol in PROTOCOLS.values())
    assert set(METRICS) == {metric for metrics in TASKS.values() for metric in metrics}


def test_presets_of_generation():
    adm, ucf, k600 = (PROTOCOLS[name] for name in protocols_of("generation"))
    assert (adm.name, adm.samples, adm.resolution, adm.manifold) == ("adm-50k", 50_000, 256, 10_000)
    assert adm.metrics == ("fid_tf1", "inception_score", "precision", "recall")
    assert (ucf.name, ucf.samples, ucf.reference_files, ucf.frames, ucf.resolution) == ("ucf-2048", 2048, 2048, 16, 128)
    assert (k600.name, k600.samples, k600.frames, k600.resolution) == ("k600-2048", 2048, 17, 64)
    assert ucf.metrics == k600.metrics == ("fvd_videogpt",) and ucf.clips == k600.clips == "centre"
    assert adm.digest() == PROTOCOLS["imagenet-rfid-50k"].digest()  # they see the same originals


def test_a_task_has_its_own_presets_and_metrics():
    assert protocol_named("adm-50k", task="generation")[1] == {}
    with pytest.raises(ProtocolError, match="adm-50k is a protocol of generation; of reconstruction there are: vidtok, "):
        protocol_named("adm-50k", task="reconstruction")
    with pytest.raises(ProtocolError, match="vidtok is a protocol of reconstruction; of generation there are: adm-50k, ucf-2048"):
        protocol_named("vidtok", task="generation")


def test_overrides_are_named_and_change_the_digest():
    plain, none = protocol_named("vidtok")
    changed, overrides = protocol_named("vidtok", ["frames=16", "resolution=256"], ["psnr"])
    assert none == {} and overrides == {"frames": 16, "metrics": ("psnr",)}
    assert changed.frames == 16 and changed.metrics == ("psnr",)
    assert plain.digest() != changed.digest()
    assert plain.digest() == protocol_named("vidtok", [], ["psnr"])[0].digest()
    assert protocol_named("omnitokenizer-video", ["half_range=false"])[0].half_range is False


def test_a_shortage_is_said():
    assert shortage(PROTOCOLS["imagenet-rfid-50k"], {"images": 50_000}) == []
    (sentence,) = shortage(PROTOCOLS["imagenet-rfid-50k"], {"images": 7})
    assert sentence == "images: 7 samples, fewer than the 50,000 of imagenet-rfid-50k: not its numbers"


@pytest.mark.parametrize(
    ("name", "overrides", "metrics", "message"),
    [
        ("vidtoc", [], [], "no protocol 'vidtoc'; did you mean 'vidtok'"),
        ("vidtok", ["frame=3"], [], "'frame=3' sets nothing of a protocol; did you mean 'frames'"),
        ("vidtok", ["frames"], [], "write KEY=VALUE"),
        ("vidtok", ["frames=many"], [], "frames of a protocol takes a value of type int, not 'many'"),
        ("vidtok", ["half_range=perhaps"], [], "takes a value of type bool"),
        ("vidtok", ["frames=8"], [], "fvd_omnitokenizer needs clips of at least 9 frames, and these have 8"),
        ("vidtok", ["clips=some"], [], "clips of a protocol is one of first, centre, all"),
        ("vidtok", ["resolution=-1"], [], "cannot be negative"),
        ("vidtok", ["samples=3"], [], "sets nothing of a protocol"),
        ("vidtok", [], ["fid"], "no metric 'fid'"),
        ("vidtok", [], ["precision"], "precision is of generated samples; of reconstruction there are: psnr"),
        ("adm-50k", [], ["psnr"], "psnr compares pairs, and samples have no partners; of generation there are: fid_torch"),
        ("adm-50k", [], ["presision"], "no metric 'presision'; did you mean 'precision'"),
        ("ucf-2048", [], ["recall"], "recall is of images, and ucf-2048 is of videos"),
        ("adm-50k", ["manifold=3"], [], "sets nothing of a protocol"),
        ("adm-50k", ["frames=2"], [], "adm-50k is of images, which have one frame, not frames=2"),
        ("vidtok", ["frame_rate=nan"], [], "frame_rate of a protocol is a number of frames per second, not nan"),
    ],
)
def test_what_is_refused(name, overrides, metrics, message):
    with pytest.raises(ProtocolError, match=message):
        protocol_named(name, overrides, metrics)
