"""Vector quantization: the nearest of a stored set of codes (van den Oord et al., arXiv 1711.00937).

The codebook learns in one of two ways. By gradients, as in VQGAN (Esser et al., arXiv 2012.09841): parameters, pulled to their
vectors by the codebook loss. Or as a moving average of its vectors, as in OmniTokenizer (arXiv 2406.09399): state in the
collection "codebook", renewed at each training call for which that collection is mutable, after the lookup.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokjax.quantizers.codebook import CodebookState, draw_from, ema_update, nearest_codes, start
from tokjax.quantizers.quantized import Quantized


class VQ(nn.Module):
    """Attributes:
    codebook_size: number of codes.
    l2_codes: scale each vector to length 1 before anything else; codes are not scaled.
    commitment_weight: of the mean of (z - sg(code))**2.
    codebook_weight: of the mean of (sg(z) - code)**2, the only loss that reaches codes trained by gradients.
    ema_decay: of the moving averages; 0 trains the codes by gradients.
    data_init: the first training call takes its vectors as codes (moving average only).
    restart_threshold: codes whose moving count falls below it are replaced by vectors of the batch; 0 replaces none.
    """

    codebook_size: int
    l2_codes: bool = False
    commitment_weight: float = 0.25
    codebook_weight: float = 1.0
    ema_decay: float = 0.0
    data_init: bool = False
    restart_threshold: float = 0.0

    moments_per_latent = 1

    @nn.compact
    def __call__(self, z: jax.Array, rng: jax.Array | None = None, train: bool = False, step: jax.Array | int = 0) -> Quantized:
        """z [b,t,h,w,c] -> Quantized, gradients straight through.

        Args:
          rng: key of the vectors that become codes, needed in training with data_init or restart_threshold.

        Raises:
          ValueError: no key where one is needed.
        """
        del step
        z = z.astype(jnp.float32)
        if self.l2_codes:  # the length is kept above 1e-12
            z = z / jnp.sqrt(jnp.maximum(jnp.sum(z**2, axis=-1, keepdims=True), 1e-24))
        vectors = z.reshape(-1, z.shape[-1])
        embeddings, indices = self._look_up(vectors, rng, train)
        codes = embeddings[indices].reshape(z.shape)
        losses = self._losses(z, codes) if train else {}
        return Quantized(jax.lax.stop_gradient(codes - z) + z, indices.reshape(z.shape[:-1]), losses)

    def indices_to_latents(self, indices: jax.Array) -> jax.Array:
        """int32 [...] -> float32 [..., c]: rows of the codebook."""
        return self.get_variable("codebook" if self.ema_decay else "params", "embeddings")[indices]

    def _look_up(self, vectors: jax.Array, rng: jax.Array | None, train: bool) -> tuple[jax.Array, jax.Array]:
        """The codes, and the index of the nearest for each vector; a moving-average codebook then learns from both."""
        shape = (self.codebook_size, vectors.shape[-1])
        if not self.ema_decay:
            edge = 1 / self.codebook_size
            embeddings = self.param("embeddings", lambda key: jax.random.uniform(key, shape, minval=-edge, maxval=edge))
            return embeddings, nearest_codes(vectors, embeddings)
        stored = self._stored(shape)
        state = CodebookState(*(one.value for one in stored))
        learn = train and self.is_mutable_collection("codebook") and not self.is_initializing()
        if not learn:
            return state.embeddings, nearest_codes(vectors, state.embeddings)
        state, indices, renewed = self._learn(state, jax.lax.stop_gradient(vectors), rng)
        for one, value in zip(stored, renewed, strict=True):
            one.value = value
        return state.embeddings, indices

    def _stored(self, shape: tuple[int, int]) -> list[nn.Variable]:
        """The variables of CodebookState, in its order; at first random codes."""
        embeddings = self.variable("codebook", "embeddings", lambda: jax.random.normal(self.make_rng("params"), shape))
        first = start(embeddings.value)._asdict()
        return [embeddings, *(self.variable("codebook", name, first.get, name) for name in CodebookState._fields[1:])]

    def _learn(
        self, state: CodebookState, vectors: jax.Array, rng: jax.Array | None
    ) -> tuple[CodebookState, jax.Array, CodebookState]:
        """The state to look up in, the indices found, and the state after them."""
        if rng is None and (self.data_init or self.restart_threshold):
            raise ValueError("a codebook with data_init or restart_threshold draws vectors in training; give it a key as rng")
        if self.data_init:

            def taken() -> CodebookState:
                return start(draw_from(vectors, self.codebook_size, jax.random.fold_in(rng, 0)), state.usage, True)

            state = jax.lax.cond(state.initialized, lambda: state, taken)
        candidates = draw_from(vectors, self.codebook_size, jax.random.fold_in(rng, 1)) if self.restart_threshold else None
        indices = nearest_codes(vectors, state.embeddings)
        return state, indices, ema_update(state, vectors, indices, self.ema_decay, self.restart_threshold, candidates)

    def _losses(self, z: jax.Array, codes: jax.Array) -> dict[str, jax.Array]:
        commitment = jnp.mean((z - jax.lax.stop_gradient(codes)) ** 2)
        if self.ema_decay:
            return {"commitment": commitment, "regularization": self.commitment_weight * commitment}
        codebook = jnp.mean((jax.lax.stop_gradient(z) - codes) ** 2)
        total = self.commitment_weight * commitment + self.codebook_weight * codebook
        return {"commitment": commitment, "codebook": codebook, "regularization": total}
