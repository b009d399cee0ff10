"""Patched pods are pods: for an API server of any supported version, and a thousand mutations."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.inject.patch import apply, inject
from sidecar.inject.settings import Resources, Settings
from tests.support import schemas
from tests.support.pods import FEATURES, Pod, all_pods, plain, with_features
from tests.unit.inject.test_patch import SETTINGS, injected, left


def _names(value: Any) -> list[str]:
    objects = value if isinstance(value, list) else []
    return [str(each.get("name")) for each in objects if isinstance(each, dict)]


def refused(pod: Pod) -> list[str]:
    """What the API server's validation says beyond the schema, of what a patch touches."""
    spec = pod["spec"]
    containers = [*spec["containers"], *(spec.get("initContainers") or [])]
    names = _names(containers)
    volumes = _names(spec.get("volumes"))
    found = [f"two containers {name}" for name in set(names) if names.count(name) > 1]
    found += [f"two volumes {name}" for name in set(volumes) if volumes.count(name) > 1]
    for container in containers:
        mounts = _names(container.get("volumeMounts"))
        found += [f"no volume {name}" for name in mounts if name not in volumes]
        env = _names(container.get("env"))
        found += [f"variable {name} twice" for name in set(env) if env.count(name) > 1]
    return found


def test_a_patched_pod_is_a_pod_for_the_oldest_and_the_newest_kubernetes() -> None:
    for pod in all_pods(1):
        after = injected(pod)
        for version in (schemas.OLDEST, schemas.NEWEST):
            assert schemas.faults(after, version) == []
        assert refused(after) == []


@pytest.mark.parametrize(
    "changed",
    [
        Settings(image="registry.example:5000/team/sidecar@sha256:" + "0" * 64, secret=None),
        Settings(resources=Resources(cpu_request=None, memory_request=None, memory_limit=None)),
        Settings(run_as_user=None, port=1024, start_s=3600),
    ],
)
def test_a_patched_pod_is_a_pod_whatever_the_settings(changed: Settings) -> None:
    for version in (schemas.OLDEST, schemas.NEWEST):
        assert schemas.faults(injected(plain(), changed), version) == []


# -- a thousand mutations ---------------------------------------------------------------

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 70_000) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
_KEYS = st.sampled_from(
    [
        "pointsman.dev/inject", "pointsman.dev/port", "pointsman.dev/config", "hostNetwork", "os",
        "pointsman.dev/skip-containers", "name", "env", "envFrom", "ports", "volumes",
        "containerPort", "restartPolicy", "initContainers", "containers", "annotations", "labels",
        "value", "a/b~c",
    ]
)  # fmt: skip
_VALUES = _JSON | st.sampled_from(
    ["18081", "disabled", "pointsman", "pointsman-config", "Always", "OPENAI_BASE_URL", [], {}]
)


def _places(value: Any) -> list[Any]:
    """Every object and list in a pod."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    here = [value] if isinstance(value, dict | list) else []
    return here + [place for each in inner for place in _places(each)]


_WHERE = st.integers(0, 9_999)  # of whatever is there: a strategy a list would be slow
_HOW = st.sampled_from(["set", "remove", "change", "repeat"])
_CHOSEN = st.lists(st.sampled_from(FEATURES), max_size=4, unique=True)
_TIMES = st.integers(1, 4)


@st.composite
def mutated(draw: st.DrawFn) -> Pod:
    """A pod with one to four random changes anywhere in it."""
    pod = with_features(tuple(draw(_CHOSEN)))
    for _ in range(draw(_TIMES)):
        places = _places(pod)
        place = places[draw(_WHERE) % len(places)]
        how, value = draw(_HOW), copy.deepcopy(draw(_VALUES))
        if isinstance(place, dict):
            keys = sorted(place)
            if how == "set" or not keys:
                place[draw(_KEYS)] = value
            elif how == "remove":
                del place[keys[draw(_WHERE) % len(keys)]]
            else:
                place[keys[draw(_WHERE) % len(keys)]] = value
        elif how == "set" or not place:
            place.append(value)
        elif how == "repeat":
            place.append(copy.deepcopy(place[draw(_WHERE) % len(place)]))
        else:
            del place[draw(_WHERE) % len(place)]
    return pod


@given(pod=mutated(), newest=st.booleans())
@settings(max_examples=1000, deadline=None)
def test_a_thousand_mutated_pods_get_a_valid_patch_or_stay_as_they_are(
    pod: Any, newest: bool
) -> None:
    before = copy.deepcopy(pod)
    injection = inject(pod, "team", SETTINGS)
    assert pod == before
    if not injection.operations:
        assert injection.reason != "injected"
        assert injection.message
        return
    after = apply(pod, injection.operations)
    assert inject(after, "team", SETTINGS).operations == ()
    version = schemas.NEWEST if newest else schemas.OLDEST
    # what was wrong with the pod is the API server's to say; nothing is wrong because of us
    kind = {"kind": "Pod", "apiVersion": "v1"}
    new = schemas.faults({**after, **kind}, version)
    if new:
        assert len(new) <= len(schemas.faults({**pod, **kind}, version)), new
    assert set(refused(after)) <= set(refused(pod))


@given(pod=_JSON)
def test_what_is_no_pod_is_left_alone_with_a_reason(pod: Any) -> None:
    assert left(pod).message
