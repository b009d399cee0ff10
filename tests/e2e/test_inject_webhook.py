"""The admission webhook as a process, asked over real TLS as an API server asks."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from sidecar.inject.patch import apply, inject
from sidecar.inject.server import MAX_BODY
from sidecar.inject.settings import Settings
from tests.support import schemas
from tests.support.pods import all_pods, plain, review
from tests.support.webhook import (
    NAME,
    ApiServer,
    Replica,
    admitted,
    credentials,
    put,
    settings_file,
    start,
    trusting,
)
from tests.support.wire import GENEROUS

Begin = Callable[..., Awaitable[Replica]]
MADE = credentials()


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    begun: list[Replica] = []
    put(tmp_path / "tls", MADE)

    async def one(*options: str) -> Replica:
        begun.append(start(tmp_path / "tls", *options))
        await begun[-1].serving()
        return begun[-1]

    yield one
    for replica in begun:
        replica.kill()


@pytest.fixture(scope="module")
def certificate_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("webhook") / "tls"
    put(folder, MADE)
    return folder


@pytest.fixture(scope="module")
def started(certificate_folder: Path) -> Iterator[Replica]:
    replica = start(certificate_folder)
    yield replica
    replica.kill()


@pytest.fixture
async def shared(started: Replica) -> Replica:
    """One for all the tests that leave it as it was."""
    await started.serving()
    return started


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer(MADE.authorities) as server:
        yield server


async def test_hundreds_of_pods_are_injected_and_are_pods_afterwards(
    begin: Begin, api: ApiServer
) -> None:
    replica = await begin()
    count = 0
    for count, pod in enumerate(list(all_pods())[::2], start=1):
        response = await api.ask(replica.listen, pod, uid=f"u-{count}")
        assert response["auditAnnotations"]["decision"] == "injected"
        after = admitted(pod, response)
        version = (schemas.OLDEST, schemas.NEWEST)[count % 2]
        assert schemas.faults(after, version) == []
        assert "patch" not in await api.ask(replica.listen, after)  # IfNeeded: asked once more
    assert count > 250
    status, metrics = await replica.probe("/metrics")
    assert status == 200
    assert f'inject_reviews_total{{decision="injected"}} {count}.0' in metrics
    assert f'inject_reviews_total{{decision="already-injected"}} {count}.0' in metrics


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"[]", 400, "not an AdmissionReview"),
        (orjson.dumps(plain()), 400, "not an AdmissionReview"),
        (orjson.dumps({**review(plain()), "apiVersion": "admission.k8s.io/v1beta1"}), 400, "v1"),
        (orjson.dumps({**review(plain()), "request": None}), 400, "no request"),
        (orjson.dumps(review(plain(), uid="")), 400, "no uid"),
        (b" " * (MAX_BODY + 1), 413, "larger than 4 MB"),
    ],
)
async def test_what_is_no_review_gets_a_sentence_and_the_next_review_an_answer(
    shared: Replica, api: ApiServer, body: bytes, status: int, said: str
) -> None:
    got, answer = await api.post(shared.listen, body)
    assert got == status
    assert said in orjson.loads(answer)["error"]["message"]
    assert "patch" in await api.ask(shared.listen, plain())


@pytest.mark.parametrize(
    "pod",
    [
        None, 7, "pod", [], {}, {"metadata": {}}, {"metadata": {}, "spec": {}},
        {"metadata": {}, "spec": {"containers": {}}},
        {"metadata": {"labels": []}, "spec": {"containers": [{"name": "a"}]}},
        {"metadata": {}, "spec": {"containers": [None]}},
        {"metadata": {}, "spec": {"containers": [{"name": ["a"]}]}},
    ],
)  # fmt: skip
async def test_a_review_of_a_strange_object_is_allowed_and_told_why(
    shared: Replica, api: ApiServer, pod: Any
) -> None:
    response = await api.ask(shared.listen, pod)
    assert "patch" not in response
    assert response["auditAnnotations"]["decision"] == "not-a-pod"
    assert response["warnings"][0].startswith("pointsman: not injected: ")


@pytest.mark.parametrize(
    ("fields", "decision"),
    [
        ({"operation": "UPDATE"}, "not-created"),
        ({"operation": None}, "not-created"),
        ({"subResource": "ephemeralcontainers"}, "not-a-pod"),
        ({"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}}, "not-a-pod"),
        ({"kind": None}, "not-a-pod"),
        ({"namespace": "pointsman"}, "own-namespace"),
        ({"namespace": "kube-system"}, "system-namespace"),
    ],
)
async def test_what_is_not_to_be_injected_is_allowed_as_it_is(
    shared: Replica, api: ApiServer, fields: dict[str, Any], decision: str
) -> None:
    response = await api.ask(shared.listen, plain(), **fields)
    assert "patch" not in response
    assert response["auditAnnotations"]["decision"] == decision


async def test_other_paths_methods_and_types_are_refused(shared: Replica) -> None:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trusting(MADE.authorities))
    ) as session:
        url = f"https://{shared.listen}"
        for method, path, kind, status in (
            ("GET", "/inject", "application/json", 405),
            ("POST", "/", "application/json", 404),
            ("POST", "/inject", "text/plain", 400),
            ("GET", "/healthz", "text/plain", 200),
            ("GET", "/metrics", "text/plain", 404),
        ):
            async with session.request(
                method, url + path, server_hostname=NAME, headers={"Content-Type": kind}
            ) as answer:
                assert answer.status == status, path
                assert "Server" not in answer.headers


async def test_nothing_of_a_pod_but_its_name_is_in_the_log(begin: Begin, api: ApiServer) -> None:
    replica = await begin()
    pod = plain("told")
    pod["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": "hunter2"}]
    await api.ask(replica.listen, pod)
    await api.post(replica.listen, b"hunter2")
    forged = plain("a\nINFO forged")
    await api.ask(replica.listen, forged)
    replica.terminate()
    assert await replica.ended() == 0
    assert "team/told: injected" in replica.said
    assert "hunter2" not in replica.said
    assert "forged" not in replica.said


async def test_the_settings_are_what_is_injected(
    begin: Begin, api: ApiServer, tmp_path: Path
) -> None:
    file = settings_file(tmp_path, image="registry.example/sidecar:9", port=20000)
    replica = await begin("--settings", str(file))
    pod = admitted(plain(), await api.ask(replica.listen, plain()))
    (container,) = pod["spec"]["initContainers"]
    assert container["image"] == "registry.example/sidecar:9"
    assert container["ports"][0]["containerPort"] == 20002


async def test_a_new_certificate_is_served_without_a_restart(begin: Begin, tmp_path: Path) -> None:
    replica = await begin()
    async with ApiServer(MADE.authorities) as old:
        assert "patch" in await old.ask(replica.listen, plain())
        other = credentials()
        put(tmp_path / "tls", other)

        async def served() -> bytes:
            host, port = replica.listen.split(":")
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            _, writer = await asyncio.open_connection(host, int(port), ssl=context)
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
            return bytes(shown)

        wanted = ssl.PEM_cert_to_DER_cert(other.certificate.decode())
        async with asyncio.timeout(GENEROUS):
            while await served() != wanted:
                await asyncio.sleep(0.2)
        # the open connection lives on, and a new one trusts the new authority only
        assert "patch" in await old.ask(replica.listen, plain())
    async with ApiServer(other.authorities) as new:
        assert "patch" in await new.ask(replica.listen, plain())


async def test_files_that_do_not_belong_together_leave_the_old_certificate_in_use(
    begin: Begin, api: ApiServer, tmp_path: Path
) -> None:
    replica = await begin()
    one, two = credentials(), credentials()
    put(tmp_path / "tls", type(one)(one.authorities, one.authority_key, one.certificate, two.key))
    async with asyncio.timeout(GENEROUS):
        while "still in use" not in replica.said:
            await asyncio.sleep(0.1)
    async with ApiServer(MADE.authorities) as fresh:
        assert "patch" in await fresh.ask(replica.listen, plain())
    assert (await replica.probe())[0] == 200


async def test_without_a_certificate_it_says_so_and_ends(tmp_path: Path) -> None:
    replica = start(tmp_path / "nothing")
    assert await replica.ended() == 1
    assert "cannot be used" in replica.said
    assert "Traceback" not in replica.said


# -- replicas ---------------------------------------------------------------------------


async def test_two_replicas_stopped_in_turn_under_load_lose_nothing(
    begin: Begin, tmp_path: Path
) -> None:
    """A rollout: endpoints follow readiness a moment late, as in a cluster."""
    replicas = {0: await begin(), 1: await begin()}
    endpoints = [replicas[0].listen, replicas[1].listen]
    injected = failed = 0
    stop = asyncio.Event()

    async def ask(number: int) -> None:
        nonlocal injected, failed
        async with ApiServer(MADE.authorities) as api:
            turn = number
            while not stop.is_set():
                turn += 1
                try:
                    at = endpoints[turn % len(endpoints)]
                    response = await api.ask(at, plain(), uid=f"u-{number}-{turn}")
                    injected += "patch" in response
                except (aiohttp.ClientError, OSError, AssertionError):
                    failed += 1
                await asyncio.sleep(0.01)

    askers = [asyncio.create_task(ask(number)) for number in range(4)]
    try:
        for turn in range(3):
            before = injected
            leaving = replicas[turn % 2]
            leaving.terminate()
            async with asyncio.timeout(GENEROUS):
                while (await leaving.probe())[0] == 200:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)  # before whoever sends has heard of it
            endpoints.remove(leaving.listen)
            assert await leaving.ended() == 0
            fresh = await begin()
            await fresh.until_ready()
            replicas[turn % 2] = fresh
            endpoints.append(fresh.listen)
            async with asyncio.timeout(GENEROUS):
                while injected < before + 20:
                    await asyncio.sleep(0.02)
    finally:
        stop.set()
        await asyncio.gather(*askers)
    assert failed == 0
    assert injected > 60


# aiohttp, the asker here, leaves the socket of a handshake that a kill cuts to the collector
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)
async def test_two_replicas_killed_in_turn_lose_no_review_that_is_asked_again(
    begin: Begin,
) -> None:
    """SIGKILL with reviews in flight, as where a node dies; the dead one stays an endpoint.

    An API server asks once. What it gets no answer to is a failed call, and by
    ``failurePolicy: Ignore`` that pod starts as it is, without the sidecar. Here such a
    review is asked again at the other replica, as it is when the pod is made again: there
    it must be answered, and no review may ever get any answer but its own pod's.
    """
    replicas = [await begin(), await begin()]
    endpoints = [replica.listen for replica in replicas]
    flying = dict.fromkeys(endpoints, 0)
    right = ignored = lost = 0
    stop = asyncio.Event()

    async def ask(number: int) -> None:
        nonlocal right, ignored, lost
        async with ApiServer(MADE.authorities) as api:
            turn = number
            while not stop.is_set():
                turn += 1
                pod = plain(f"app-{number}-{turn}")
                wanted = apply(pod, inject(pod, "team", Settings()).operations)
                for at in (endpoints[turn % 2], endpoints[(turn + 1) % 2]):
                    flying[at] = flying.get(at, 0) + 1
                    try:
                        response = await api.ask(at, pod, uid=f"u-{number}-{turn}")
                    except (aiohttp.ClientError, OSError):
                        ignored += 1
                        continue
                    finally:
                        flying[at] -= 1
                    assert admitted(pod, response) == wanted
                    right += 1
                    break
                else:
                    lost += 1

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(GENEROUS * 3):
            while not holds():
                for asker in askers:
                    assert not asker.done() or asker.result() is None
                await asyncio.sleep(0.02)

    askers = [asyncio.create_task(ask(number)) for number in range(4)]
    try:
        for turn in range(4):
            leaving, before = replicas[turn % 2], (right, ignored)
            # it takes what comes and answers nothing: what is there when it dies is in flight
            leaving.process.send_signal(signal.SIGSTOP)
            await until(lambda at=leaving.listen: flying[at] >= 2)  # type: ignore[misc]
            leaving.kill()
            await until(lambda least=before: ignored >= least[1] + 2 and right > least[0])  # type: ignore[misc]
            fresh = await begin()
            await fresh.until_ready()
            replicas[turn % 2], endpoints[turn % 2] = fresh, fresh.listen
            await until(lambda least=right: right >= least + 20)  # type: ignore[misc]
    finally:
        stop.set()
        await asyncio.gather(*askers)
    assert lost == 0
    assert ignored >= 8
    assert right >= 80


async def test_a_replica_that_is_told_to_stop_is_not_ready_but_answers(
    begin: Begin, api: ApiServer
) -> None:
    replica = await begin("--linger-s", "30")
    assert (await replica.probe())[0] == 200
    replica.terminate()
    async with asyncio.timeout(GENEROUS):
        while (await replica.probe())[0] == 200:
            await asyncio.sleep(0.02)
    assert (await replica.probe("/healthz"))[0] == 200
    assert "patch" in await api.ask(replica.listen, plain())
    replica.terminate()  # twice is a hurry, and no reason to cut anybody off
    await asyncio.sleep(0.1)
    assert "patch" in await api.ask(replica.listen, plain())
