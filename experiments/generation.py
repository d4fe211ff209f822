"""What tokens are for (Wang et al., arXiv 2406.09399, sections 4.3 and 4.4): language models over codes, and latent diffusion.

    tokjax encode models/imagenet_ucf --data data/imagenet/train --resolution 256 --shards 256 -o caches/imagenet
    tokjax train --config experiments/generation.py:imagenet_class --workdir runs/imagenet_class
    tokjax generate runs/imagenet_class --tokenizer models/imagenet_ucf \\
      -o samples --classes 0-999 --count 50 --guidance 1.5 --top-k 2048

  imagenet_class  709.77 M, 1,024 codes of an image 256x256 after [class, start]; 32 GPUs, 256 images a batch.
  ucf_class       713.30 M, 5,120 codes of 17 frames after [start, class]; 16 GPUs, 64 clips a batch, fp16.
  k600_frames     712.99 M, 5,120 codes of 17 frames; from the first two latent frames it goes on. 32 GPUs, 256 clips a batch.
  dit_xl_2        674.89 M (and 0.29 M of fixed tables), latents 32x32x8 of an image 256x256; 8 GPUs, 256 images a batch.
  latte_xl_2      674 M, latents 5x32x32x8 of 17 frames; 8 GPUs, 40 clips a batch, 1 M steps.

These are the published models (mode="published") and recipes: AdamW (0.9, 0.95), learning rate 1e-3, decay of 0.01 on matrices,
clipping at 1; of diffusion AdamW, 1e-4, moving average 0.9999, latents times 0.18215. Parameter counts are checked by our tests;
nothing else of these rows has been measured here.

Small rows, on the offline sample data (`tokjax prepare sample --output data/sample`). A tokenizer works along, since random crops
are more than a cache of so few photographs would hold:

    tokjax train --config experiments/omnitokenizer.py:tiny --workdir runs/omnitokenizer_tiny
    tokjax train --config experiments/generation.py:tiny_codes --workdir runs/tiny_codes
    tokjax generate runs/tiny_codes --tokenizer runs/omnitokenizer_tiny -o samples --count 16

    tokjax train --config experiments/quickstart.py --workdir runs/quickstart
    tokjax encode runs/quickstart --data data/sample/train/images --resolution 64 --short-side 320 -o caches/latents
    tokjax train --config experiments/generation.py:tiny_latents --workdir runs/tiny_latents
    tokjax generate runs/tiny_latents --tokenizer runs/quickstart -o samples --count 16 --steps 100

  tiny_codes      8x8 codes of images 64x64, by the sound language model.
  tiny_latents    8x8x4 latents of images 64x64, scaled by what the cache measured.
"""

from typing import Any

from ml_collections import ConfigDict

from tokjax.config import defaults, stream

PUBLISHED = {"mode": "published", "block": "published", "dtype": "bfloat16", "remat": True}
DIFFUSION = {"scaling": 0.18215, "dtype": "bfloat16", "remat": True}


def get_config(variant: str = "tiny_codes") -> ConfigDict:
    config = defaults("diffusion" if variant in ("dit_xl_2", "latte_xl_2", "tiny_latents") else "language_model")
    config.name = f"generation_{variant}"
    VARIANTS[variant](config)
    return config


def _imagenet_class(config: ConfigDict) -> None:
    config.model.update(PUBLISHED | {"grid": (1, 32, 32), "classes": 1000, "start_token": True, "class_first": True})
    _language(config, "imagenet", batch=256)


def _ucf_class(config: ConfigDict) -> None:
    config.model.update(PUBLISHED | {"grid": (5, 32, 32), "classes": 101, "start_token": True})
    _language(config, "ucf101", batch=64)


def _k600_frames(config: ConfigDict) -> None:
    config.model.update(PUBLISHED | {"grid": (5, 32, 32)})
    _language(config, "k600", batch=256)


def _language(config: ConfigDict, name: str, batch: int) -> None:
    """The published recipe; 4,000,000 steps are but a limit."""
    config.optimizer.update({"name": "adamw", "learning_rate": 1e-3, "b1": 0.9, "b2": 0.95, "clip_norm": 1.0})
    config.optimizer.update({"weight_decay": 0.01, "weight_decay_of": "kernels"})
    config.training.update({"steps": 4_000_000, "evaluate_every": 10_000, "checkpoint_every": 5_000})
    _cached(config, name, batch)


def _dit_xl_2(config: ConfigDict) -> None:
    config.model.update(DIFFUSION | {"grid": (1, 32, 32), "classes": 1000})
    _denoising(config, "imagenet_latents", batch=256, steps=7_000_000)


def _latte_xl_2(config: ConfigDict) -> None:
    config.model.update(DIFFUSION | {"grid": (5, 32, 32), "classes": 101, "temporal": True})
    _denoising(config, "ucf101_latents", batch=40, steps=1_000_000)


def _denoising(config: ConfigDict, name: str, batch: int, steps: int) -> None:
    config.optimizer.update({"name": "adamw", "learning_rate": 1e-4, "ema_decay": 0.9999, "clip_norm": 0.0})
    config.training.update({"steps": steps, "evaluate_every": 10_000, "checkpoint_every": 5_000})
    _cached(config, name, batch)


def _cached(config: ConfigDict, name: str, batch: int) -> None:
    config.data.train.tokens = stream("tokens", f"caches/{name}", batch=batch)


def _photographs(config: ConfigDict, batch: int, short_side: int, **changes: Any) -> None:
    place = {"batch": batch, "resolution": 64, "short_side": short_side}
    config.data.train.images = stream("images", "data/sample/train/images", **place, **changes)
    held = stream("images", "data/sample/validation/images", crop="centre", flip=False, **place)
    config.data.validation.images = held


def _tiny_codes(config: ConfigDict) -> None:
    config.model.update({"grid": (1, 8, 8), "codes": 512, "width": 128, "depth": 4, "heads": 4})
    config.optimizer.update({"name": "adamw", "learning_rate": 2e-3, "schedule": "cosine", "warmup_steps": 50, "b2": 0.95})
    config.optimizer.update({"clip_norm": 1.0, "weight_decay": 0.1, "weight_decay_of": "kernels", "ema_decay": 0.98})
    config.training.update({"steps": 400, "log_every": 50, "evaluate_every": 100, "checkpoint_every": 200})
    config.data.tokenizer = "runs/omnitokenizer_tiny"
    # The scale that the tokenizer has learned; colours are varied, since what is held out are other photographs.
    _photographs(config, batch=32, short_side=320, colour_jitter=0.4)


def _tiny_latents(config: ConfigDict) -> None:
    config.model.update({"grid": (1, 8, 8), "channels": 4, "patch": 1, "width": 128, "depth": 4, "heads": 4})
    config.optimizer.update(
        {"learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 50, "ema_decay": 0.99, "clip_norm": 1.0}
    )
    config.training.update({"steps": 600, "log_every": 50, "evaluate_every": 200, "checkpoint_every": 200})
    config.data.tokenizer = "runs/quickstart"
    _photographs(config, batch=16, short_side=320)
    config.data.train.measured = stream("tokens", "caches/latents", weight=0.0)


VARIANTS = {
    "imagenet_class": _imagenet_class,
    "ucf_class": _ucf_class,
    "k600_frames": _k600_frames,
    "dit_xl_2": _dit_xl_2,
    "latte_xl_2": _latte_xl_2,
    "tiny_codes": _tiny_codes,
    "tiny_latents": _tiny_latents,
}
