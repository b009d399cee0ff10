"""Windows to token ids: the tokenizer file of a bundle behind two functions.

Ids are int32 and bounded by :data:`MAX_TOKENS`. A window that is longer loses its
middle, never its end, because the question often stands last. The tokenizer has
truncation and padding off, set once: nothing mutates it afterwards, so it never
raises "Already borrowed"; one instance a thread all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sidecar.errors import EncoderError
from sidecar.features import CUT

MAX_TOKENS: Final = 256
PAD: Final = 0
UNKNOWN: Final = 1

Ids = NDArray[np.int32]


def cut_middle(ids: Ids, limit: int, cut: int) -> Ids:
    """``ids`` with at most ``limit`` entries: 5/9 from the head, the rest from the tail."""
    if len(ids) <= limit:
        return ids
    head = limit * 5 // 9
    tail = limit - head - 1
    return np.concatenate([ids[:head], np.array([cut], np.int32), ids[len(ids) - tail :]])


class Tokens:
    """A loaded tokenizer."""

    def __init__(self, raw: bytes) -> None:
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_buffer(raw)
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
        except Exception as error:
            raise EncoderError(f"tokenizer.json can't be read as a tokenizer: {error}") from error
        cut = self._tokenizer.token_to_id(CUT)
        if cut is None or self._tokenizer.token_to_id("[PAD]") != PAD:
            raise EncoderError(
                "tokenizer.json lacks the window's markers or has [PAD] elsewhere than 0: "
                "it belongs to another encoder"
            )
        self._cut: int = cut
        self.size: int = self._tokenizer.get_vocab_size()

    def encode(self, windows: Sequence[str]) -> list[Ids]:
        """Ids of every window, each 1 to MAX_TOKENS long. Releases the GIL while it works."""
        encodings = self._tokenizer.encode_batch_fast(list(windows), add_special_tokens=False)
        return [
            cut_middle(np.array(e.ids or [UNKNOWN], np.int32), MAX_TOKENS, self._cut)
            for e in encodings
        ]
