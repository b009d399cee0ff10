"""The real Triton server on the CPU repository: right answers, batches, refusals."""
# ruff: noqa: E402

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

grpc = pytest.importorskip(
    "tritonclient.grpc", reason="tritonclient is not installed: the extra `gpu`"
)

from tritonclient.utils import InferenceServerException

from model_repo.generate import generate
from sidecar.classify.triton_pool import Pool
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import INPUT, OUTPUTS, OnnxEncoder, pad, readings
from sidecar.encoder.served import Served, faults
from tests.support.triton import TritonServer, installed

pytestmark = [
    pytest.mark.skipif(installed() is None, reason="the wheel nvidia-pytriton is not installed"),
    pytest.mark.timeout(300),
]

WINDOWS = [
    "What is the capital of France?",
    "Prove that the square root of two is irrational, then generalise to every prime.",
    "def f(x): return x + 1  # why does this raise a TypeError for strings?",
    "",
    "Translate into German: the train leaves at noon. " * 4,
]


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load()


@pytest.fixture(scope="module")
def served(bundle):
    return Served.of(bundle)


@pytest.fixture(scope="module")
def server(bundle, served, tmp_path_factory):
    """A server with the two shortest buckets, the second generated and not yet loaded."""
    scratch = tmp_path_factory.mktemp("triton")
    generate(bundle, scratch / "repo")
    started = TritonServer(
        scratch / "repo" / "cpu", scratch, models=(served.name(served.buckets[0]),)
    )
    try:
        started.wait_ready()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def running(server):
    """A client of it, and its repository."""
    client = grpc.InferenceServerClient(server.url)
    yield client, server.repository
    client.close()


def asked(ids, bucket, served):
    """A request as a client sends it: raw int32 rows, padded to the bucket."""
    rows = pad(ids, bucket)
    tensor = grpc.InferInput(INPUT, list(rows.shape), "INT32")
    tensor.set_data_from_numpy(rows)
    return served.name(bucket), [tensor]


def answered(result, version):
    """A response as readings; scalars come as [batch, 1]."""
    values = {name: result.as_numpy(name) for name in OUTPUTS}
    for name in ("difficulty", "ood"):
        assert values[name].shape[1:] == (1,)
        values[name] = values[name][:, 0]
    return readings(values, version)


def same(one, other, within):
    for name in ("demand", "task_probs", "domain_probs", "tier_probs", "difficulty", "ood"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=within, rtol=0)


def test_the_server_answers_what_the_sidecars_encoder_answers(running, bundle, served):
    client, _ = running
    encoder = OnnxEncoder(bundle)
    for ids in encoder.tokens.encode(WINDOWS):
        bucket = served.buckets[0]
        assert served.bucket(len(ids)) == bucket
        result = client.infer(*asked([ids], bucket, served))
        (found,), (wanted,) = answered(result, bundle.version), encoder.read_ids([ids])
        same(found, wanted, 1e-5)


def test_ids_out_of_the_vocabulary_fail_nobody(running, bundle, served):
    client, _ = running
    wild = np.array([5, -7, bundle.vocabulary, 2**31 - 1, 9], np.int32)
    tame = np.array([5, 1, 1, 1, 9], np.int32)
    bucket = served.buckets[0]
    (found,) = answered(client.infer(*asked([wild], bucket, served)), "")
    (wanted,) = answered(client.infer(*asked([tame], bucket, served)), "")
    same(found, wanted, 1e-6)


def test_the_running_model_has_no_faults(running, served):
    client, _ = running
    bucket = served.buckets[0]
    config = client.get_model_config(served.name(bucket), as_json=True)["config"]
    assert faults(config, served, bucket) == []


async def test_what_32_clients_ask_by_the_sidecars_own_calls_is_batched(
    server, running, bundle, served
):
    client, _ = running
    name = served.name(served.buckets[0])
    (ids,) = OnnxEncoder(bundle).tokens.encode(WINDOWS[:1])
    before = client.get_inference_statistics(name).model_stats[0]
    clients, each = 32, 8
    pool = Pool(server.url, served, in_flight=clients)

    async def ask():
        return [await pool.send(ids) for _ in range(each)]

    answers = await asyncio.gather(*(ask() for _ in range(clients)))
    await pool.close()
    for _ in range(100):  # the last answers are counted after they are sent
        after = client.get_inference_statistics(name).model_stats[0]
        if after.inference_count - before.inference_count == clients * each:
            break
        await asyncio.sleep(0.05)
    inferences = after.inference_count - before.inference_count
    executions = after.execution_count - before.execution_count
    assert inferences == clients * each
    assert inferences / executions > 2
    (wanted,) = OnnxEncoder(bundle).read_ids([ids])
    for found in answers[0] + answers[-1]:
        same(found, wanted, 1e-5)


def test_models_are_unloaded_and_loaded_again(running, served):
    client, _ = running
    name = served.name(served.buckets[0])
    client.unload_model(name)
    assert not client.is_model_ready(name)
    client.load_model(name)
    assert client.is_model_ready(name)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("labels", "config.pbtxt has labels_tier"),
        ("tokenizer", "config.pbtxt has tokenizer_sha256"),
        ("weights", "is corrupt or belongs to another encoder"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_a_sentence(running, served, broken, said):
    client, repository = running
    folder = repository / served.name(served.buckets[1])
    manifest, weights = folder / "1" / "manifest.json", folder / "1" / "model.onnx"
    kept, raw = manifest.read_text(), weights.read_bytes()
    wrong = json.loads(kept)
    if broken == "labels":
        wrong["labels"]["tier"].reverse()
    elif broken == "tokenizer":
        wrong["files"]["tokenizer.json"] = "0" * 64
    else:
        weights.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    manifest.write_text(json.dumps(wrong))
    try:
        with pytest.raises(InferenceServerException, match=said):
            client.load_model(folder.name)
        assert not client.is_model_ready(folder.name)
    finally:
        manifest.write_text(kept)
        weights.write_bytes(raw)
    assert client.is_model_ready(served.name(served.buckets[0]))
