"""Every key of a configuration, with the value used where an experiment says nothing.

A config is an `ml_collections.ConfigDict`. An experiment file starts from `defaults()` and changes what differs; the command line
changes single values (tokjax.experiment); `tokjax.config.validate` refuses what cannot work before anything is allocated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_collections import ConfigDict

QUANTIZER = {
    "name": "kl",  # "kl", "fsq", "lfq", "vq" or "none" (a plain autoencoder)
    # fsq, lfq, vq: codebooks side by side, and channels of a code in each. A width puts linear layers around the codes; with 0
    # there are none, and the codebooks share the latent channels equally.
    "num_codebooks": 1,
    "codebook_width": 0,
    "levels": (),  # fsq: codes per channel
    "codebook_size": 0,  # lfq: 2 ** channels; vq: any
    # fsq, lfq: weight of the entropy loss, and the steps over which it falls to that from so many times as much
    "entropy_weight": 0.1,
    "entropy_annealing_steps": 2000,
    "entropy_annealing_factor": 3.0,
    "diversity_gamma": 1.0,  # fsq, lfq: how much the entropy of the mean code counts within it
    "commitment_weight": 0.25,  # fsq, lfq, vq
    "codebook_weight": 1.0,  # vq: of the loss that trains the codes by gradients; 0 with ema_decay
    "ema_decay": 0.0,  # vq: above 0, codes are moving averages of their vectors instead
    "data_init": False,  # vq with ema_decay: the first batch gives the codes
    "restart_threshold": 0.0,  # vq with ema_decay: codes with a smaller moving count are replaced from the batch; 0 replaces none
    "l2_codes": False,  # vq: vectors are scaled to length 1
}

VIDTOK = {
    "family": "vidtok",
    "causality": "causal",  # "causal" (v1.0), "causal_v1_1" or "noncausal"
    "architecture": "published",  # or "full_3d", "no_blender", "no_3d": the paper's ablations, see tokjax.models.vidtok_levels
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
    "remat": False,  # recompute each block in the backward pass instead of storing it
    "quantizer": QUANTIZER,
}

OMNITOKENIZER = {
    "family": "omnitokenizer",
    "mode": "published",  # or "sound", which is causal in time; see tokjax.models.token_layers.Style
    "width": 512,  # channels of a token
    "heads": 8,
    "head_width": 64,
    "patch": 8,  # pixels along the side of a patch
    "time_factor": 4,  # frames of a patch after the first
    # A letter for each block along space: t attention, w within windows, a m l halve the grid, n r double it.
    "encoder_blocks": "ttww",
    "decoder_blocks": "tttt",
    "temporal_depth": 4,  # blocks along time, in the encoder and in the decoder
    "window": 8,  # tokens along the side of a window
    "position": "rope",  # or "relative": biases learned from offsets
    "attention": "fused",  # or "explicit", which adds the biases of positions: relative ones in space, ALiBi in causal time
    "causal": True,  # attention along time looks back only
    "causal_convolution": True,  # and so does the convolution that tells positions
    # Of patches: "linear" normalises their pixels first, as released; "plain" keeps their brightness and contrast, as new models
    # should; "cnn" is a strided convolution with batch normalisation.
    "embedding": "linear",
    "defer_time_pool": False,  # patches of half as many frames, and pairs of tokens averaged after the encoder
    "defer_space_pool": False,  # the same for both sides
    "upscale": 1,  # sides of the output, in multiples of the input's
    "latent_channels": 8,
    "init": "published",  # or "vit": linear layers from N(0, 0.02) without biases
    "dtype": "float32",  # of the computation; parameters are always float32
    "remat": False,  # recompute each block in the backward pass instead of storing it
    "quantizer": QUANTIZER,
}

LANGUAGE_MODEL = {
    "family": "language_model",
    "mode": "sound",  # or "published", OmniTokenizer's words and sequences, see tokjax.generation.language_model
    "block": "modern",  # or "published", see tokjax.generation.decoder_block
    "grid": (1, 32, 32),  # frames, rows and columns of a sample's codes
    "codes": 8192,
    "factors": (),  # sound mode: large codebooks are written in digits of these bases, such as (512, 512)
    "classes": 0,  # 0 without
    "condition_dropout": 0.1,  # how often the class is left out in training, which guidance needs
    "start_token": False,  # published mode: whether there is one, and whether the class comes before it
    "class_first": False,
    "positions": 0,  # published block: length of the table; 0 takes as many as training needs
    "width": 1536,
    "depth": 24,
    "heads": 16,
    "dtype": "float32",  # of the computation; parameters are always float32
    "remat": False,  # recompute each block in the backward pass instead of storing it
}

DIFFUSION = {
    "family": "diffusion",
    "grid": (1, 32, 32),  # frames, rows and columns of a sample's latents
    "channels": 8,  # of the latents
    "patch": 2,  # latents along the side of a patch
    "temporal": False,  # every second block attends along time (Latte)
    "classes": 0,  # 0 without
    "condition_dropout": 0.1,  # how often the class is left out in training, which guidance needs
    "prediction": "noise",  # or "flow" for flow matching
    "learned_range": True,  # learn the variance of steps too; not with flow matching
    "scaling": 0.0,  # factor of the latents, published 0.18215; 0 takes the mean and deviation of each channel
    "width": 1152,
    "depth": 28,
    "heads": 16,
    "dtype": "float32",  # of the products within blocks; parameters are always float32
    "remat": False,  # recompute each block in the backward pass instead of storing it
}

MODELS = {"vidtok": VIDTOK, "omnitokenizer": OMNITOKENIZER}
GENERATORS = {"language_model": LANGUAGE_MODEL, "diffusion": DIFFUSION}  # of tokens, trained on what a tokenizer has made
FAMILIES = MODELS | GENERATORS

OPTIMIZER = {
    "name": "adam",  # "adam" or "adamw"
    "learning_rate": 1e-4,
    # "constant", "cosine" (to the minimum at the last step), or "omnitokenizer" (tokjax.training.optimizers.published_cosine)
    "schedule": "constant",
    "learning_rate_min": 0.0,
    "warmup_steps": 0,
    "warmup_from": 0.0,  # the rate that the warm-up begins with
    "b1": 0.9,
    "b2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "weight_decay_of": "all",  # parameters, or "kernels", the matrices of linear layers and convolutions alone
    "clip_norm": 20.0,  # 0 does not clip
}

RUN = {
    # For fine-tuning: an export (`tokjax export`, `tokjax convert`) or a workdir whose weights a run begins with.
    "start_from": "",
    "data": {
        "tokenizer": "",  # for models of tokens: a tokenizer that makes them while training, from streams of images or videos
        "train": {},
        "validation": {},
        "workers": 0,  # processes that decode; 0 decodes in threads of the training process
        "bad_share": 0.1,  # a run stops when more than this share of a stream's records cannot be read
        "slow_seconds": 10.0,  # records that take longer to read and decode are listed in slow_records.jsonl
    },
    "loss": {
        "reconstruction": "l1",  # or "l2"
        "reduction": "frame",  # "frame" sums over the values of a frame (VidTok), "mean" averages over all (OmniTokenizer)
        "reconstruction_weight": 1.0,
        "laplace_weight": 0.0,  # of OmniTokenizer's `logitslaplace` term
        "regularization_weight": 1e-6,  # of the quantizer's own loss
        "log_variance": False,  # learn a scalar that says how far reconstructions may be off
        # Of LPIPS, which counts for each value of a frame with reduction="frame" and once with "mean".
        "perceptual_weight": 0.0,
        "perceptual_network": "vgg16",  # or "alexnet"
        "perceptual_weights_file": "",  # of that network, made by `tokjax convert perceptual`
        "perceptual_range": 1.0,  # it sees pixels in -range..range: 1 is what it was trained on, 0.5 is OmniTokenizer's
        "frames": "all",  # of a clip, which LPIPS and a discriminator of images see: "all", or "one" drawn at random
        # Of the discriminators, see tokjax.losses.objective.
        "adversarial": "hinge",
        "adversarial_weight": 0.0,
        "image_weight": 1.0,
        "video_weight": 1.0,
        "adversarial_start": 0,  # the first step in which the model hears the discriminators
        "adversarial_ramp": 0,  # steps over which it hears them more and more
        "discriminator_start": 0,  # the first step in which the discriminators learn
        "adaptive": False,  # balance the adversarial loss against the distance at the last layer, before its weight
        "adaptive_limit": 1e4,
        "lecam_weight": 0.0,
        "feature_matching_weight": 0.0,
    },
    "discriminator": {
        "kind": "",  # none, or one of tokjax.models.discriminators.KINDS
        "width": 64,
        "layers": 3,
        "norm": "batch",  # or "group", omni_image only
        "activation": "leaky_relu",  # or "tanh"
        "noise": False,  # of a learned strength on what it sees
        "dtype": "float32",  # of the computation; parameters, norms and logits are always float32
        "augment": "",  # DiffAugment of what it sees, such as "color,translation,cutout"
    },
    "optimizer": OPTIMIZER
    | {
        "ema_decay": 0.0,  # 0 keeps no average
        "freeze": (),  # patterns of parameters that do not train, such as "encoder" or "decoder/level_*"
    },
    "discriminator_optimizer": OPTIMIZER
    | {
        "skip_below": 0.0,  # the discriminator rests for a step in which its loss is below this
    },
    "training": {
        "steps": 1000,
        "mode": "sound",  # or "published": OmniTokenizer's order of updates, see tokjax.training.published
        "accumulation": 1,  # micro-batches whose gradients are averaged in one step
        "batches_per_update": 1,  # steps whose gradients are averaged for one update, as of images and clips in turn
        "log_every": 20,
        "evaluate_every": 500,
        "checkpoint_every": 500,
        "keep_checkpoints": 3,
        "nonfinite_limit": 1,  # steps in a row with a loss or gradient that is not finite before the run stops
        "evaluation_metrics": (),  # besides PSNR and SSIM, names of tokjax.evaluation.protocols.METRICS
        "evaluation_weights": (),  # files of the networks that those need, made by `tokjax convert perceptual`
        # Such as "validation/videos/psnr": the checkpoint that is best by it is kept, and named in the workdir's best.json.
        "best_metric": "",
    },
    "stages": {},  # of progressive training, made by `stages`; none trains in one go
    # Devices along each axis; -1: all that remain. data and fsdp split the batch, fsdp parameters too, context the height of
    # clips or the sequences of models of tokens.
    "mesh": {"data": -1, "fsdp": 1, "context": 1},
}


def defaults(family: str = "vidtok") -> ConfigDict:
    """Every key there is for a model family, with the value used where an experiment says nothing."""
    from ml_collections import ConfigDict  # here, so that the plain dicts above serve where it is not installed

    config = ConfigDict({"name": "", "seed": 0, "model": FAMILIES[family]} | RUN)
    if family in GENERATORS:
        config.mesh.tensor = 1  # splits heads and hidden channels, which tokenizers do not
    return config


def stream(kind: str, path: str, **changes: Any) -> ConfigDict:
    """One data stream.

    Args:
      kind: "images" or "videos" (a folder tree, with or without a list), "array_record" (shards of `tokjax prepare`), "tfds"
        or, for models of tokens, "tokens" (a cache of `tokjax encode --data`).
      path: the folder; of shards also a glob, here or in a bucket (gs://); of tfds the folder of a version of a data set.
      **changes: any of the keys below.
    """
    from ml_collections import ConfigDict

    config = ConfigDict(
        {
            "kind": kind,
            "path": path,
            # images and videos: a list of paths below `path`, of the formats in tokjax.data.lists; "" takes every file
            "table": "",
            "split": "train",  # of a data set of tfds
            "weight": 1.0,  # how often this stream is drawn, relative to the others; 0 leaves it out
            "batch": 8,  # clips per step over all devices
            "frames": 1,
            "frame_rate": 0.0,  # frames per second after sampling; 0 keeps the file's own
            "stride": 1,  # with frame_rate 0: every so many-th frame
            # "exact" keeps the interval; "vidtok" is the published rule with its end point one frame late; "omnitokenizer" thins
            # a video out to frame_rate, rounding down, and takes a window of it, in evaluation the one in the middle
            "frame_rule": "exact",
            "short_clips": "repeat",  # videos too short for a clip repeat their last frame; or "drop": others are drawn
            "whole": False,  # validation only: every video whole, in clips that follow each other
            "resolution": 64,  # height and width of the square crop
            "short_side": 0,  # the shorter side is resized to this first; 0 means `resolution`
            "resize": "bilinear",  # or "bicubic"; both smooth when they shrink
            # "random", "centre", "squash" (the whole frame becomes a square) or "random_area" (a share of the frame, resized)
            "crop": "random",
            "crop_area": (0.5, 1.0),  # of random_area
            "flip": True,  # half of the clips are mirrored left-right
            "colour_jitter": 0.0,  # brightness, contrast and saturation are changed by up to this share
        }
    )
    config.update(changes)
    return config


def stages(*parts: ConfigDict) -> ConfigDict:
    """The section `config.stages` of these stages, one trained after the other; its keys are "0", "1", ..."""
    from ml_collections import ConfigDict

    return ConfigDict({str(number): part for number, part in enumerate(parts)})


def stage(
    name: str, *, keep_optimizer: bool = False, fresh: tuple[str, ...] = (), inflate: str = "", **changes: Any
) -> ConfigDict:
    """One stage of progressive training: what differs from the config that it belongs to.

    Args:
      name: for logs and the command line, as in --config.stages.NAME.optimizer.learning_rate=1e-5.
      keep_optimizer: the optimizer's moments are those of the stage before; otherwise they begin anew. Its schedule always does.
      fresh: patterns of parameters that begin anew although the stage before has them; "discriminator" is all of those, and
        "loss" the learned log-variance.
      inflate: "sound", "average" or "first" makes OmniTokenizer's weights for later frames of those for the first frame, see
        tokjax.training.carry_over; "" leaves them as any other.
      **changes: the sections tokjax.training.stages.SECTIONS with the keys that differ; `training.steps` are the
        stage's own. Streams are those of the config: weight 0 leaves one out.
    """
    from ml_collections import ConfigDict

    return ConfigDict({"name": name, "keep_optimizer": keep_optimizer, "fresh": fresh, "inflate": inflate, **changes})
