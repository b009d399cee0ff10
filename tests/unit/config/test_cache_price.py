"""What an upstream takes for writing to its cache, beside reading from it."""

from __future__ import annotations

import pytest

from sidecar.config.snapshot import Price
from sidecar.types import Usage

PLAIN = Price(3.0, 0.3, 15.0)
WRITES = Price(3.0, 0.3, 15.0, 3.75)


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (Usage(1000, 0, 100, None, 1000), 1000 * 3.75 + 1500),
        (Usage(1000, 600, 100, None, 300), 600 * 0.3 + 300 * 3.75 + 100 * 3 + 1500),
        (Usage(1000, 600, 100, None, 0), 600 * 0.3 + 400 * 3 + 1500),
        (Usage(1000, 600, 100), 600 * 0.3 + 400 * 3 + 1500),  # nobody said
        (Usage(1000, 600, 100, None, 9000), 600 * 0.3 + 400 * 3.75 + 1500),  # more than there was
    ],
)
def test_what_is_written_costs_what_writing_does(usage: Usage, usd: float) -> None:
    assert WRITES.charged(usage) == pytest.approx(usd / 1e6)


def test_where_nothing_is_said_of_it_writing_costs_what_reading_does() -> None:
    usage = Usage(1000, 600, 100, None, 300)
    assert PLAIN.charged(usage) == PLAIN.charged(Usage(1000, 600, 100))
    assert (PLAIN.fresh, WRITES.fresh) == (3.0, 3.75)


def test_what_was_not_counted_has_no_cost() -> None:
    assert WRITES.charged(Usage(1000, 0, None, None, 1000)) is None
