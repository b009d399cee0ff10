"""Common prompts, read before anybody asks them.

A file of rows as ``sidecar score`` takes them. The encoder reads them one at a
time, behind whatever traffic there is; a bad row is counted and passed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from sidecar.classify.base import Classifier
from sidecar.errors import ClassifierError
from sidecar.state.decision_cache import DecisionCache
from sidecar.types import Features, Prompt, Reading

log = logging.getLogger("sidecar.state")

_TRIES: Final = 5
_PAUSE_S: Final = 0.05


async def precompute(
    cache: DecisionCache,
    classifier: Classifier,
    prompts: Iterable[Prompt],
    window: Callable[[Prompt], Features],
) -> int:
    """Keep the reading of each prompt, up to what the cache holds; how many there are now.

    ``window`` is what requests are read by.
    """
    kept = 0
    for prompt in prompts:
        features = window(prompt)
        if kept >= cache.limit:
            log.warning("decision_cache.common: only the first %d prompts are kept", kept)
            break
        if features.empty:
            continue
        for _ in range(_TRIES):
            try:
                reading: Reading = await classifier.classify(features)
            except ClassifierError:  # busy with requests, which come first
                await asyncio.sleep(_PAUSE_S)
            else:
                cache.keep(features.window, reading, standing=True)
                kept += 1
                break
    return kept
