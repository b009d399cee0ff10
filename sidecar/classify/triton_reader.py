"""A Triton server for the offline commands: blocking, many rows at once, no deadline.

The same calls as :mod:`sidecar.classify.triton` makes, behind the interface that the
in-process encoder has, so that what ``sidecar score`` prints is what serving would read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from sidecar.classify.triton_pool import Pool
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.served import MODEL, Served
from sidecar.encoder.tokens import Ids, Tokens
from sidecar.errors import ClassifierError, ConfigError, DataError
from sidecar.types import Reading

AT_ONCE: Final = 16  # calls under way: enough for the server to make batches of
CHECK_S: Final = 10.0


class TritonEncoder:
    """Reads rows by the server at ``url``.

    Raises DataError where its client is not installed, or where the server does not
    answer or serves another encoder than ``bundle``.
    """

    def __init__(self, bundle: Bundle, url: str, model: str = MODEL) -> None:
        self.version = bundle.version
        self.tokens = Tokens(bundle.tokenizer)
        self._served = Served.of(bundle, model)
        self._runner = asyncio.Runner()
        try:
            self._runner.run(self._connect(url))
        except BaseException:
            self._runner.close()
            raise

    async def _connect(self, url: str) -> None:
        try:
            self._pool = Pool(url, self._served, in_flight=AT_ONCE)
        except ConfigError as error:
            raise DataError(str(error).removeprefix("classifier.")) from error
        wrong = await self._pool.verify(CHECK_S)
        if wrong is not None:
            await self._pool.close()
            raise DataError(str(wrong))

    def read_ids(self, ids: Sequence[Ids]) -> list[Reading]:
        """One reading a row of ids, in order. Raises DataError where the server fails."""
        return self._runner.run(self._read(ids))

    async def _read(self, ids: Sequence[Ids]) -> list[Reading]:
        readings: list[Reading] = []
        for start in range(0, len(ids), AT_ONCE):
            calls = [self._pool.send(row) for row in ids[start : start + AT_ONCE]]
            try:
                readings += await asyncio.gather(*calls)
            except ClassifierError as error:
                raise DataError(str(error)) from error
        return readings

    def close(self) -> None:
        """Close the channel; what is asked later raises."""
        self._runner.run(self._pool.close())
        self._runner.close()
