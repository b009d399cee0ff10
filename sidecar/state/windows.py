"""The windows of the latest prompts: a text that comes again is not cleaned again.

Apps send the same few prompts over and over, and making a window of one takes longer
than all the rest of a decision that is in the cache. Windows are text: they stay in
memory, a few hundred of them, and go nowhere.
"""

from __future__ import annotations

import math
from typing import Final

from sidecar.features import features_of, looked_at
from sidecar.state.lru import Lru
from sidecar.types import Features, Prompt

_KEPT: Final = 512  # of at most 1,300 characters each


class Windows:
    """The latest windows of one process."""

    def __init__(self, kept: int = _KEPT, *, claims: bool = False) -> None:
        self._kept: Lru[int, Features] = Lru(kept, math.inf)
        self._claims = claims

    def of(self, prompt: Prompt) -> Features:
        """What :func:`~sidecar.features.features_of` says of ``prompt``."""
        # Python's keyed string hash: fast, and nobody outside can aim at a key of it
        key = hash(looked_at(prompt))
        features = self._kept.get(key)
        if features is None:
            features = features_of(prompt, claims=self._claims)
            self._kept.put(key, features)
        return features
