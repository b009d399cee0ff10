"""The schemas judge here as they do in ``kubernetes-validate``."""

from __future__ import annotations

import copy
from typing import Any

import kubernetes_validate
import pytest

from tests.support import schemas
from tests.support.pods import all_pods, plain


def monitor(**endpoint: Any) -> dict[str, Any]:
    return {
        "apiVersion": schemas.OPERATOR,
        "kind": "ServiceMonitor",
        "metadata": {"name": "x"},
        "spec": {"selector": {}, "endpoints": [{"port": "probes", **endpoint}]},
    }


def test_the_operators_judge_refuses_what_its_definitions_do_and_what_they_do_not_know() -> None:
    assert schemas.faults(monitor(interval="30s"), schemas.NEWEST) == []
    for bad in ({"interval": "often"}, {"scheme": "gopher"}, {"intervall": "30s"}, {"port": 8}):
        assert schemas.faults(monitor(**bad), schemas.NEWEST)


@pytest.mark.parametrize("version", [schemas.OLDEST, schemas.NEWEST])
def test_the_quick_judge_agrees_with_kubernetes_validate(version: str) -> None:
    bad = [plain() for _ in range(4)]
    bad[0]["spec"]["bogus"] = 1
    bad[1]["spec"]["containers"][0]["ports"] = [{"containerPort": "http"}]
    del bad[2]["spec"]["containers"][0]["name"]
    bad[3]["metadata"]["labels"] = ["a"]
    for pod in bad:
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(copy.deepcopy(pod), version, strict=True)
        assert schemas.faults(pod, version)
    for pod in all_pods(1):
        kubernetes_validate.validate(pod, version, strict=True)
        assert schemas.faults(pod, version) == []
