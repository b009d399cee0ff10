"""Policies that rank candidates by a reading, one a file; each is registered here.

``fixed`` is not among them: it reads nothing, so :mod:`sidecar.decide.stages`
settles it before the encoder is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.decide.policies import bandit, cascade, cost_quality, ensemble, similarity, threshold
from sidecar.decide.policies.base import Policy

POLICIES: Final[Mapping[str, Policy]] = MappingProxyType(
    {
        "bandit": bandit.pick,
        "cascade": cascade.pick,
        "cost_quality": cost_quality.pick,
        "ensemble": ensemble.pick,
        "similarity": similarity.pick,
        "threshold": threshold.pick,
    }
)
