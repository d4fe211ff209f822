"""What every quantizer returns."""

import flax.struct
import jax


@flax.struct.dataclass
class Quantized:
    """Attributes:
    latents: what the decoder gets, float32 [b,t,h,w,c].
    indices: codes, int32 [b,t,h,w], or [b,t,h,w,n] of n codebooks, or None where latents are continuous.
    losses: named scalars; `regularization` is their weighted sum, which training adds to its loss. Empty unless training.
    """

    latents: jax.Array
    indices: jax.Array | None
    losses: dict[str, jax.Array]
