"""Every key of a configuration, with the value used where an experiment says nothing.

A config is an `ml_collections.ConfigDict`. An experiment file starts from `defaults()` and changes what differs; the command line
changes single values (tokjax.experiment); `tokjax.config.validate` refuses what cannot work before anything is allocated.
"""

from typing import Any

from ml_collections import ConfigDict

VIDTOK = {
    "family": "vidtok",
    "causality": "causal",
    "channels": 128,
    "channel_multipliers": (1, 2, 4, 4),
    "blocks_per_level": 2,
    "latent_channels": 4,
    "time_factor": 4,
    # Levels that halve a side in the encoder and double it in the decoder; () asks for the family's own choice.
    "spatial_down": (),
    "spatial_up": (),
    "time_down": (),
    "time_up": (),
    "norm": "layernorm",
    "init": "published",  # "he" trains faster from scratch, see tokjax.models.layers.Style
    "dtype": "float32",  # of the computation; parameters are always float32
    "remat": False,  # recompute each level in the backward pass instead of storing it
    "quantizer": {
        "name": "kl",  # "kl" or "fsq"
        "levels": (),  # fsq: codes per channel
        "entropy_weight": 0.1,  # fsq
        "entropy_annealing_steps": 2000,
        "entropy_annealing_factor": 3.0,
        "commitment_weight": 0.25,
        "diversity_gamma": 1.0,
    },
}

MODELS = {"vidtok": VIDTOK}

RUN = {
    "data": {
        "train": {},
        "validation": {},
        "workers": 0,  # processes that decode; 0 decodes in threads of the training process
        "bad_share": 0.1,  # a run stops when more than this share of a stream's records cannot be read
    },
    "loss": {
        "reconstruction": "l1",  # "l1" or "l2"
        "reconstruction_weight": 1.0,
        "regularization_weight": 1e-6,  # of the quantizer's own loss
        "perceptual_weight": 0.0,
        "adversarial_weight": 0.0,
    },
    "optimizer": {
        "name": "adam",  # "adam" or "adamw"
        "learning_rate": 1e-4,
        "schedule": "constant",  # "constant" or "cosine" (to zero at the last step)
        "warmup_steps": 0,
        "b1": 0.9,
        "b2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "clip_norm": 20.0,  # 0 does not clip
        "ema_decay": 0.0,  # 0 keeps no average
    },
    "training": {
        "steps": 1000,
        "accumulation": 1,  # micro-batches whose gradients are averaged in one step
        "log_every": 20,
        "evaluate_every": 500,
        "checkpoint_every": 500,
        "keep_checkpoints": 3,
        "nonfinite_limit": 1,  # steps in a row with a loss or gradient that is not finite before the run stops
    },
    "mesh": {"data": -1, "fsdp": 1, "context": 1},  # -1: all devices that remain
}


def defaults(family: str = "vidtok") -> ConfigDict:
    """Every key there is for a model family, with the value used where an experiment says nothing."""
    return ConfigDict({"name": "", "seed": 0, "model": MODELS[family]} | RUN)


def stream(kind: str, path: str, **changes: Any) -> ConfigDict:
    """One data stream.

    Args:
      kind: "images" (a folder tree), "videos" (a folder, with or without a CSV table) or "array_record" (a glob of shards).
      path: the folder or glob.
      **changes: any of the keys below.
    """
    config = ConfigDict(
        {
            "kind": kind,
            "path": path,
            "table": "",  # videos: a CSV with a column `videos`, paths relative to `path`; "" takes every video below `path`
            "weight": 1.0,  # how often this stream is drawn, relative to the others
            "batch": 8,  # clips per step over all devices
            "frames": 1,
            "frame_rate": 0.0,  # frames per second after sampling; 0 keeps the file's own
            "frame_rule": "exact",  # "exact" keeps the interval; "vidtok" is the published rule with its end point one frame late
            "resolution": 64,  # height and width of the square crop
            "short_side": 0,  # the shorter side is resized to this first; 0 means `resolution`
            "crop": "random",  # "random" or "centre"
            "flip": True,  # half of the clips are mirrored left-right
        }
    )
    config.update(changes)
    return config
