"""Several codebooks side by side, and linear layers where codes are not as wide as latents."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokjax.quantizers.fsq import FSQ
from tokjax.quantizers.lfq import LFQ
from tokjax.quantizers.quantized import Quantized
from tokjax.quantizers.vq import VQ


class Codebooks(nn.Module):
    """Each codebook codes its own group of neighbouring channels; losses are means over the codebooks.

    Attributes:
      codebooks: quantizers of one kind and size.
      code_width: channels that each of them codes; latents are projected to code_width x codebooks channels, and codes back, the
        losses being taken in between. 0 projects nothing: the codebooks share the latent channels equally.
    """

    codebooks: tuple[FSQ | LFQ | VQ, ...]
    code_width: int = 0

    moments_per_latent = 1

    @property
    def codebook_size(self) -> int:
        """Codes in each codebook."""
        return self.codebooks[0].codebook_size

    @nn.compact
    def __call__(self, z: jax.Array, rng: jax.Array | None = None, train: bool = False, step: jax.Array | int = 0) -> Quantized:
        """z [b,t,h,w,c] -> Quantized with indices [b,t,h,w], or [b,t,h,w,n] of n > 1 codebooks."""
        count, width = len(self.codebooks), z.shape[-1]
        z = z.astype(jnp.float32)
        if self.code_width:
            z = nn.Dense(self.code_width * count, precision="highest", name="project_in")(z)
        keys = [None] * count if rng is None else jax.random.split(rng, count)
        groups = zip(self.codebooks, jnp.split(z, count, axis=-1), keys, strict=True)
        found = [codebook(group, key, train, step) for codebook, group, key in groups]
        latents = jnp.concatenate([one.latents for one in found], axis=-1)
        if self.code_width:
            latents = nn.Dense(width, precision="highest", name="project_out")(latents)
        indices = found[0].indices if count == 1 else jnp.stack([one.indices for one in found], axis=-1)
        return Quantized(latents, indices, jax.tree.map(lambda *one: sum(one) / count, *(one.losses for one in found)))

    def indices_to_latents(self, indices: jax.Array) -> jax.Array:
        """Indices as `__call__` gives them -> float32 [b,t,h,w,c], what the decoder got with them.

        Codes are projected once, as in the forward pass; VidTok's own `decode_from_indices` projects them twice.
        """
        each = [indices] if len(self.codebooks) == 1 else jnp.moveaxis(indices, -1, 0)
        groups = [codebook.indices_to_latents(one) for codebook, one in zip(self.codebooks, each, strict=True)]
        codes = jnp.concatenate(groups, axis=-1)
        if not self.code_width:
            return codes
        layer = self.get_variable("params", "project_out")
        return jnp.matmul(codes, layer["kernel"], precision="highest") + layer["bias"]
