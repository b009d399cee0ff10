"""The keeper: one set of certificates for all replicas, trusted before it is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sidecar.inject.certificates import AUTHORITY_LIFE, LEAF_LIFE
from sidecar.inject.cluster import Cluster, ClusterError
from sidecar.inject.keeper import Keeper
from sidecar.inject.tls import ServingCertificate
from tests.support.kube_api import HOOK, SECRET, KubeApi
from tests.support.webhook import NAME, credentials


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[KubeApi]:
    server = KubeApi()
    (tmp_path / "account").mkdir()
    await server.start(tmp_path / "account", credentials(("localhost",)))
    yield server
    await server.stop()


@pytest.fixture
async def cluster(api: KubeApi, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(api.url, tmp_path / "account") as one:
        yield one


def keeper(cluster: Cluster, folder: Path, clock: Clock | None = None) -> Keeper:
    return Keeper(
        cluster, "pointsman", "pointsman-webhook-tls", "pointsman-webhook", (NAME,), folder,
        clock or Clock(),
    )  # fmt: skip


async def test_the_first_turn_makes_shares_publishes_and_writes(
    api: KubeApi, cluster: Cluster, tmp_path: Path
) -> None:
    await keeper(cluster, tmp_path / "tls").turn()
    assert set(api.secret) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
    assert api.bundles == [api.secret["ca.crt"]] * 2
    assert (tmp_path / "tls" / "tls.crt").read_bytes() == api.secret["tls.crt"]
    assert (tmp_path / "tls" / "tls.key").stat().st_mode & 0o077 == 0
    assert ServingCertificate(tmp_path / "tls").refresh()


async def test_a_turn_with_nothing_due_writes_nothing(
    api: KubeApi, cluster: Cluster, tmp_path: Path
) -> None:
    one = keeper(cluster, tmp_path / "tls")
    await one.turn()
    api.asked.clear()
    await one.turn()
    assert api.asked == [("GET", SECRET), ("GET", HOOK)]


async def test_replicas_that_begin_together_end_with_the_same_certificate(
    api: KubeApi, cluster: Cluster, tmp_path: Path
) -> None:
    replicas = [keeper(cluster, tmp_path / str(number)) for number in range(5)]
    results = await asyncio.gather(*(each.turn() for each in replicas), return_exceptions=True)
    lost = [each for each in results if isinstance(each, ClusterError)]
    assert lost  # the second to write was told so
    assert all(each.conflict for each in lost)
    for each in replicas:
        await each.turn()
    served = {(tmp_path / str(number) / "tls.crt").read_bytes() for number in range(5)}
    assert served == {api.secret["tls.crt"]}
    assert api.bundles == [api.secret["ca.crt"]] * 2


async def test_renewal_reaches_every_replica(
    api: KubeApi, cluster: Cluster, tmp_path: Path
) -> None:
    clock = Clock()
    one, two = (keeper(cluster, tmp_path / name, clock) for name in ("one", "two"))
    for each in (one, two):
        await each.turn()
    before = api.secret
    clock.now += LEAF_LIFE * 0.7
    await one.turn()
    await two.turn()
    assert api.secret["tls.crt"] != before["tls.crt"]
    assert api.secret["ca.crt"] == before["ca.crt"]
    assert (tmp_path / "two" / "tls.crt").read_bytes() == api.secret["tls.crt"]


async def test_two_authorities_are_trusted_while_one_takes_over(
    api: KubeApi, cluster: Cluster, tmp_path: Path
) -> None:
    clock = Clock()
    one = keeper(cluster, tmp_path / "one", clock)
    await one.turn()
    clock.now += AUTHORITY_LIFE * 0.7
    await one.turn()
    assert [bundle.count(b"BEGIN CERTIFICATE") for bundle in api.bundles] == [2, 2]
    clock.now += timedelta(hours=1)
    await one.turn()
    assert api.bundles == [api.secret["ca.crt"]] * 2


async def test_a_bundle_that_someone_emptied_is_put_back(
    api: KubeApi, cluster: Cluster, tmp_path: Path
) -> None:
    one = keeper(cluster, tmp_path / "tls")
    await one.turn()
    for hook in api.objects[HOOK]["webhooks"]:
        hook["clientConfig"] = {"service": {}}
    await one.turn()
    assert api.bundles == [api.secret["ca.crt"]] * 2


async def test_nothing_is_served_that_could_not_be_published(
    api: KubeApi, cluster: Cluster, tmp_path: Path
) -> None:
    del api.objects[HOOK]
    with pytest.raises(ClusterError, match="404"):
        await keeper(cluster, tmp_path / "tls").turn()
    assert not (tmp_path / "tls").exists()


async def test_it_goes_on_when_the_api_server_was_away(
    api: KubeApi, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.inject.keeper._SOON_S", 0.01)
    api.down = True
    kept = asyncio.Event()
    task = asyncio.create_task(keeper(cluster, tmp_path / "tls").run(kept.set))
    await asyncio.sleep(0.1)
    assert not kept.is_set()
    api.down = False
    async with asyncio.timeout(20):
        await kept.wait()
    task.cancel()
    assert (tmp_path / "tls" / "tls.crt").exists()


async def test_it_goes_on_when_its_files_could_not_be_written(
    api: KubeApi, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.inject.keeper._SOON_S", 0.01)
    (tmp_path / "tls").write_text("in the way of the folder")
    kept = asyncio.Event()
    task = asyncio.create_task(keeper(cluster, tmp_path / "tls").run(kept.set))
    async with asyncio.timeout(20):
        while api.asked.count(("GET", SECRET)) < 3:
            await asyncio.sleep(0.01)
    assert not kept.is_set()
    (tmp_path / "tls").unlink()
    async with asyncio.timeout(20):
        await kept.wait()
    task.cancel()
    assert (tmp_path / "tls" / "tls.crt").read_bytes() == api.secret["tls.crt"]


async def test_a_token_that_was_renewed_is_the_one_that_is_used(
    api: KubeApi, cluster: Cluster, tmp_path: Path
) -> None:
    token = tmp_path / "account" / "token"
    good = token.read_text()
    token.write_text("stale")
    with pytest.raises(ClusterError, match="401"):
        await keeper(cluster, tmp_path / "tls").turn()
    token.write_text(good)
    await keeper(cluster, tmp_path / "tls").turn()


async def test_the_keeper_asks_for_no_more_than_the_chart_allows(
    api: KubeApi, cluster: Cluster, tmp_path: Path
) -> None:
    clock = Clock()
    one = keeper(cluster, tmp_path / "tls", clock)
    for _ in range(12):
        await one.turn()
        clock.now += LEAF_LIFE * 0.7
    assert set(api.asked) == {("GET", SECRET), ("PUT", SECRET), ("GET", HOOK), ("PATCH", HOOK)}


async def test_outside_a_cluster_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError, match="inside a pod"):
        Cluster()
