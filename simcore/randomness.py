"""Random streams: each decided by a seed and a name alone."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def stream(seed: int, name: str) -> "np.random.Generator":
    """Return the random stream ``name`` of ``seed``, at its beginning."""
    import numpy as np

    words = hashlib.sha256(name.encode()).digest()[:16]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, int.from_bytes(words, "little")])))
