"""A policy that lacks what it needs, or is given something else, is a fault with its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sidecar import library
from sidecar.config.loader import load
from sidecar.config.snapshot import Snapshot
from sidecar.decide.policies import POLICIES
from sidecar.errors import ConfigError
from sidecar.stack import VOTES, Stack, Weights
from tests.support.builders import FakeAbilities

ROUTE = """\
upstreams:
  local: {base_url: http://127.0.0.1:9001/v1}
models:
  small: {upstream: local, ability: known, price: {input: 1, output: 1}}
  large: {upstream: local, ability: known, price: {input: 2, output: 9}}
routes:
  auto:
    models: [small, large]
    default: large
"""


def read(
    folder: Path, more: str, *, unfitted: bool = False, before: Snapshot | None = None
) -> Snapshot:
    file = folder / "sidecar.yaml"
    file.write_text(ROUTE + more)
    return load(file, FakeAbilities({"known": 0.5}), {}, unfitted=unfitted, before=before)


def faults(folder: Path, more: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, more)
    return [fault.removeprefix(f"{folder / 'sidecar.yaml'}:") for fault in caught.value.faults]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One library and stacks with it and without, all of the encoder `test`; and rubbish."""
    known = library.build("test", np.eye(2), ["a", "b"], np.array([0.0, 1.0]), {})
    known.save(tmp_path / "good.library")
    library.build("old", np.eye(2), ["a", "b"], np.array([0.0, 1.0]), {}).save(
        tmp_path / "old.library"
    )
    weights = {"known": Weights((1.0,) * len(VOTES), 0.0)}
    Stack("test", "", VOTES, weights).save(tmp_path / "alone.json")
    Stack("test", known.digest, VOTES, weights).save(tmp_path / "both.json")
    (tmp_path / "rubbish").write_text("rubbish")
    return tmp_path


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("    policy: rules\n", "7: routes.auto.rules: is required by the policy `rules`"),
        ("    policy: similarity\n", "7: routes.auto.similarity.library: is required by"),
        ("    policy: ensemble\n", "7: routes.auto.ensemble.file: is required by the policy"),
        ("    similarity: {library: none}\n", "10: routes.auto.similarity.library: can't read the"),
        ("    similarity: {library: rubbish}\n", "is not a library of `sidecar library build`"),
        ("    similarity: {library: old.library}\n", "built with encoder old, this is test: run"),
        ("    similarity: {neighbours: 0}\n", "10: routes.auto.similarity.neighbours: "),
        ("    similarity: {trust: -1}\n", "10: routes.auto.similarity.trust: "),
        ("    ensemble: {file: none}\n", "10: routes.auto.ensemble.file: can't read the ensemble"),
        ("    ensemble: {file: rubbish}\n", "10: routes.auto.ensemble.file: "),
        ("    ensemble: {file: both.json}\n", "was fitted with library"),
        ("    similarity: {library: good.library}\n    ensemble: {file: alone.json}\n",
         "11: routes.auto.ensemble.file: "),
        ("    max_cost_usd: 0\n", "10: routes.auto.max_cost_usd: "),
        ("    usd_per_s: -1\n", "10: routes.auto.usd_per_s: "),
    ],
)  # fmt: skip
def test_a_fault_names_its_line_and_key(folder: Path, more: str, said: str) -> None:
    found = faults(folder, more)
    assert any(said in fault for fault in found), found


def test_good_files_are_read_once_with_the_configuration(folder: Path) -> None:
    route = read(
        folder,
        "    policy: ensemble\n    similarity: {library: good.library}\n"
        "    ensemble: {file: both.json}\n",
    ).routes["auto"]
    assert route.library is not None
    assert len(route.library) == 2
    assert route.stack is not None
    assert route.stack.library == route.library.digest
    alone = read(folder, "    policy: ensemble\n    ensemble: {file: alone.json}\n")
    assert alone.routes["auto"].stack is not None


def test_the_command_that_writes_the_ensembles_file_needs_none(folder: Path) -> None:
    more = "    policy: ensemble\n    ensemble: {file: to-come.json}\n"
    assert read(folder, more, unfitted=True).routes["auto"].stack is None


def test_the_registered_policies_are_those_a_file_may_name(folder: Path) -> None:
    (fault,) = faults(folder, "    policy: magic\n")
    for name in POLICIES:
        assert f"'{name}'" in fault


def test_a_library_is_read_once_and_again_only_where_its_file_changed(folder: Path) -> None:
    """A reload must not hold up requests for what stands as it did."""
    (folder / "link.library").symlink_to("good.library")
    more = (
        "    similarity: {library: good.library}\n"
        "    split: {arms: {a: {policy: similarity, percent: 10}}}\n"
        "  other: {models: [small, large], default: large, similarity: {library: link.library}}\n"
    )
    first = read(folder, more)
    known = first.routes["auto"].library
    assert known is not None
    assert first.routes["other"].library is known
    assert first.routes["auto"].arms[0].route.library is known
    again = read(folder, more.replace("percent: 10", "percent: 20"), before=first)
    assert again.routes["auto"].library is known
    changed = library.build("test", np.eye(2), ["c", "d"], np.array([1.0, 0.0]), {})
    changed.save(folder / "good.library")
    last = read(folder, more, before=again)
    assert last.routes["auto"].library is not known
    assert last.routes["other"].library is last.routes["auto"].library
    assert last.routes["auto"].library is not None
    assert last.routes["auto"].library.digest == changed.digest != known.digest
    (folder / "good.library").write_text("rubbish")
    with pytest.raises(ConfigError, match="is not a library"):
        read(folder, more, before=last)
