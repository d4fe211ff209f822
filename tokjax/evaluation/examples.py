"""The clips that a report shows of a stream: the best, the worst, one from the middle; found in one pass in bounded memory."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

MIDDLE_CANDIDATES = 9


@dataclasses.dataclass(frozen=True)
class Picture:
    """A clip to look at.

    Attributes:
      name: stream and clip.
      original, reconstruction: uint8 [t,h,w,3].
      note: what it is an example of.
    """

    name: str
    original: np.ndarray
    reconstruction: np.ndarray
    note: str = ""


@dataclasses.dataclass
class Examples:
    """Clips are compared by their mean PSNR. The one from the middle is, of nine that chance picked, the nearest to the median;
    chance is a digest of the clip's id, so that the same clips are shown however the work was divided.

    Attributes:
      scores: PSNR of all clips so far.
      kept: by role ("best", "worst", or the digest of a candidate), (PSNR, clip).
    """

    scores: list[float] = dataclasses.field(default_factory=list)
    kept: dict[str, tuple[float, Picture]] = dataclasses.field(default_factory=dict)

    def wants(self, id: str, psnr: float) -> list[str]:
        """The roles that a clip would play; takes note of its score."""
        self.scores.append(psnr)
        roles = [
            role for role, sign in (("best", 1), ("worst", -1)) if role not in self.kept or sign * (psnr - self.kept[role][0]) > 0
        ]
        digest, others = hashlib.sha256(id.encode()).hexdigest(), self._candidates()
        return [*roles, digest] if len(others) < MIDDLE_CANDIDATES or digest < others[-1] else roles

    def add(self, roles: list[str], psnr: float, picture: Picture) -> None:
        """Keeps a clip in these roles and lets go of those it takes the place of."""
        self.kept |= dict.fromkeys(roles, (psnr, picture))
        for late in self._candidates()[MIDDLE_CANDIDATES:]:
            del self.kept[late]

    def pictures(self) -> list[Picture]:
        """Best, from the middle, worst; each clip once."""
        if not self.scores:
            return []
        median = float(np.median(self.scores))
        middle = min((self.kept[role] for role in self._candidates()), key=lambda one: abs(one[0] - median))
        found: dict[str, Picture] = {}
        for role, (psnr, picture) in (("best", self.kept["best"]), ("worst", self.kept["worst"]), ("near the median", middle)):
            if picture.name not in found:
                found[picture.name] = dataclasses.replace(picture, note=f"{role}, {psnr:.2f} dB")
        return list(found.values())

    def _candidates(self) -> list[str]:
        return sorted(role for role in self.kept if role not in ("best", "worst"))
