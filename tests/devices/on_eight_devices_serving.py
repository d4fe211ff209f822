"""Tokenizers on 8 fake devices and on one of them: how far apart are they, and what is refused?"""

import json

import jax
import numpy as np
from tiny_tokenizer import tiny_tokenizer

MESHES = {"batch": {"data": 8}, "both": {"data": 4, "context": 2}, "height": {"context": -1}}


def a_video(batch: int, frames: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(batch + height).uniform(-1, 1, (batch, frames, height, width, 3)).astype(np.float32)


def distances(mesh: dict, batch: int, height: int, **how: object) -> dict:
    one = tiny_tokenizer("kl")
    several, video = one.on(mesh), a_video(batch, 5, height, 10)
    expected, found = one.encode(video, **how), several.encode(video, **how)
    again, found_again = one.decode(expected, **how), several.decode(found, **how)
    return {
        "latents": float(np.abs(np.asarray(found.latents) - np.asarray(expected.latents)).max()),
        "video": float(np.abs(found_again - again).max()),
        "size": float(np.abs(again).max()),
        "devices": len(found.latents.sharding.device_set),
        "shape": found_again.shape,
    }


def same_codes() -> float:
    """The share of equal codes, and how far apart codes alone decode."""
    one, video = tiny_tokenizer("fsq"), a_video(4, 3, 16, 8)
    several = one.on(MESHES["both"])
    expected, found = one.encode(video), several.encode(video)
    again = several.decode(np.asarray(expected.indices))
    return {
        "codes": float(np.mean(np.asarray(found.indices) == np.asarray(expected.indices))),
        "video": float(np.abs(again - one.decode(np.asarray(expected.indices))).max()),
    }


def refused(mesh: dict, *shape: int) -> str:
    try:
        tiny_tokenizer("kl").on(mesh).encode(a_video(*shape))
    except ValueError as error:
        return str(error)
    return "accepted"


if __name__ == "__main__":
    assert jax.device_count() == 8
    found = {
        "both": distances(MESHES["both"], 4, 15),
        "chunks": distances(MESHES["both"], 4, 16, chunk_frames=2),
        "tiles": distances(MESHES["batch"], 8, 16, tile=(8, 8)),
        "codes": same_codes(),
        "refused batch": refused(MESHES["both"], 6, 1, 16, 8),
        "refused height": refused(MESHES["height"], 1, 1, 17, 8),
        "refused axis": refused({"dta": 8}, 8, 1, 16, 8),
        "refused size": refused({"data": 3}, 3, 1, 16, 8),
    }
    print(json.dumps(found))
