"""ImageNet and Kinetics together, for each family: images and clips in turn, small frames first, then larger ones.

    tokjax prepare images imagenet/train --short-side 320 --output data/shards/imagenet_train
    tokjax prepare images imagenet/validation --short-side 320 --output data/shards/imagenet_validation
    tokjax prepare videos k600/train --table k600/train.csv --short-side 320 --gop 16 --output data/shards/k600_train
    tokjax prepare videos k600/validation --table k600/validation.csv --short-side 320 --output data/shards/k600_validation
    tokjax data benchmark --config experiments/joint.py:vidtok_kl --workers 4,8,16
    tokjax train --config experiments/joint.py:vidtok_kl --workdir runs/joint_vidtok_kl
    tokjax train --config experiments/joint.py:omnitokenizer_vq --workdir runs/joint_omnitokenizer_vq

Tables of Kinetics-400, -600 and -700 are the published annotations (youtube_id, time_start, time_end, label). Every stream has
one shape, so a program is compiled for each: images as clips of one frame, and clips of 17 frames at their own frame rate, at
sides of 128 in the first stage and of 192, 256 and 320 in the second. All of a stage are drawn equally often. Batches shrink
about as the area of frames grows. Models, losses and optimizers are those of experiments/vidtok.py and
experiments/omnitokenizer.py, and so is what they need beside data. Crops are random and half of the clips are mirrored, unlike in
the published recipes.

Hardware: 8 devices, or another number that divides every batch. Nothing of this has been trained here.
"""

from pathlib import Path

from ml_collections import ConfigDict

from tokjax.config import stage, stages, stream
from tokjax.experiment import load_experiment

SHARDS = "data/shards"
FRAMES = 17
FIRST_SIDE, LATER_SIDES = 128, (192, 256, 320)
BATCHES = {128: 64, 192: 32, 256: 16, 320: 8}  # of clips; of images four times as many

VARIANTS = {
    "vidtok_kl": "vidtok.py:kl_causal_488_4chn",
    "vidtok_fsq": "vidtok.py:fsq_causal_488_32768",
    "omnitokenizer_vq": "omnitokenizer.py:joint_vq",
    "omnitokenizer_kl": "omnitokenizer.py:joint_kl",
}


def get_config(variant: str = "vidtok_kl") -> ConfigDict:
    config = load_experiment(str(Path(__file__).with_name(VARIANTS[variant])))
    config.name = f"joint_{variant}"
    config.data.train, config.data.validation = ConfigDict(), ConfigDict()
    for side, batch in BATCHES.items():
        place = {"resolution": side, "short_side": side, "weight": float(side == FIRST_SIDE)}
        config.data.train[f"px{side}_image"] = _shards("imagenet_train", batch=4 * batch, **place)
        config.data.train[f"px{side}_video"] = _shards("k600_train", batch=batch, frames=FRAMES, short_clips="drop", **place)
    score = {"resolution": 256, "crop": "centre", "flip": False}
    config.data.validation.images = _shards("imagenet_validation", batch=64, **score)
    config.data.validation.videos = _shards("k600_validation", batch=16, frames=FRAMES, **score)
    config.training.batches_per_update = 2  # images and clips of one side, as streams take turns in the order of their names
    weights = {f"px{side}_{kind}": {"weight": float(side in LATER_SIDES)} for kind in ("image", "video") for side in BATCHES}
    config.stages = stages(
        stage("small", training={"steps": 200_000}),
        stage("large", keep_optimizer=True, data={"train": weights}, training={"steps": 300_000}),
    )
    return config


def _shards(name: str, **changes: object) -> ConfigDict:
    return stream("array_record", f"{SHARDS}/{name}/*.array_record", **changes)
