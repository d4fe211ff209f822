"""A model of two matrix products, one each way, with the face of every model: quick to compile, its FLOPs known by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tokjax.quantizers import NoQuantizer, Quantized

PIXELS = 2 * 2 * 2 * 3  # values behind a latent: 2 frames of 2 x 2 pixels
WIDTH = 5


class TwoProducts(nn.Module):
    """Clips of odd length get a copy of their first frame in front."""

    quantizer: NoQuantizer = NoQuantizer()
    time_factor = 2
    space_factor = 2
    latent_channels = WIDTH

    def setup(self):
        self.down, self.up = nn.Dense(WIDTH, use_bias=False), nn.Dense(PIXELS, use_bias=False)

    def pad_frames(self, frames):
        return frames % 2, 0

    def pad_sides(self, height, width):
        return height + height % 2, width + width % 2

    def encode(self, video: jax.Array, rng=None, train=False, step=0) -> Quantized:
        video = jnp.concatenate([video[:, :1]] * (video.shape[1] % 2) + [video], axis=1)
        pixels = rearrange(video, "b (t f) (h y) (w x) c -> b t h w (f y x c)", f=2, y=2, x=2)
        return self.quantizer(self.down(pixels), rng, train, step)

    def decode(self, latents: jax.Array) -> jax.Array:
        return rearrange(self.up(latents), "b t h w (f y x c) -> b (t f) (h y) (w x) c", f=2, y=2, x=2, c=3)

    def __call__(self, video: jax.Array, rng=None, train=False, step=0):
        quantized = self.encode(video, rng, train, step)
        return self.decode(quantized.latents)[:, -video.shape[1] :], quantized


def product_flops(batch: int, frames: int, size: int) -> int:
    """Of one of the two products."""
    return 2 * PIXELS * WIDTH * batch * (frames + frames % 2) // 2 * (size // 2) ** 2
