"""The generated repositories: parsed by the official protobuf, equal to the graph, twins."""

from __future__ import annotations

import json
from dataclasses import replace

import onnxruntime as ort
import pytest

pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed: the extra `gpu`")

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from model_repo.generate import GRAPHS, MAX_BATCH, generate, main
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.served import LABELLED, Served, faults
from sidecar.errors import EncoderError

ONNX_TYPES = {"tensor(int32)": "TYPE_INT32", "tensor(float)": "TYPE_FP32"}


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load()


@pytest.fixture(scope="module")
def served(bundle):
    return Served.of(bundle)


@pytest.fixture(scope="module")
def repository(bundle, tmp_path_factory):
    to = tmp_path_factory.mktemp("model_repo")
    generate(bundle, to)
    return to


def parsed(repository, served, kind):
    """bucket -> the configuration as plain values, through the official message."""
    found = {}
    for bucket in served.buckets:
        text = (repository / kind / served.name(bucket) / "config.pbtxt").read_text()
        message = text_format.Parse(text, model_config_pb2.ModelConfig())
        found[bucket] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_every_configuration_has_the_graphs_tensors(kind, repository, served, bundle):
    raw = bundle.onnx if kind == "cpu" else bundle.file("model.fp16.onnx")  # what each runs
    session = ort.InferenceSession(raw, providers=["CPUExecutionProvider"])
    (graph_input,) = session.get_inputs()
    graph = {o.name: o for o in session.get_outputs()}
    for bucket, config in parsed(repository, served, kind).items():
        (given,) = config["input"]
        assert given["name"] == graph_input.name
        assert given["data_type"] == ONNX_TYPES[graph_input.type]
        assert given["dims"] == [str(bucket)]
        assert {o["name"] for o in config["output"]} == set(graph)
        for output in config["output"]:
            of = graph[output["name"]]
            assert output["data_type"] == ONNX_TYPES[of.type]
            inner = output.get("reshape", {"shape": None}).get("shape", [])
            dims = output["dims"] if kind == "cpu" or inner is None else inner
            wanted = [str(d) for d in of.shape[1:]]
            assert dims == (wanted or (["1"] if kind == "cpu" else []))
        assert faults(config, served, bucket) == []


def test_cpu_and_gpu_look_the_same_to_a_client(repository, served):
    cpu, gpu = (parsed(repository, served, kind) for kind in ("cpu", "gpu"))
    for bucket in served.buckets:
        one, other = cpu[bucket], gpu[bucket]
        for key in ("name", "max_batch_size", "input", "dynamic_batching", "parameters"):
            assert one[key] == other[key], key
        for a, b in zip(one["output"], other["output"], strict=True):
            assert {**b, "reshape": None} == {**a, "reshape": None}
        assert [g["count"] for g in one["instance_group"] + other["instance_group"]] == [2, 2]


def test_kinds_platforms_graphs_and_warm_up(repository, served):
    for config in parsed(repository, served, "cpu").values():
        assert (config["backend"], config["instance_group"][0]["kind"]) == ("python", "KIND_CPU")
        assert "optimization" not in config
    for bucket, config in parsed(repository, served, "gpu").items():
        assert config["platform"] == "tensorrt_plan"
        assert config["instance_group"][0]["kind"] == "KIND_GPU"
        cuda = config["optimization"]["cuda"]
        assert cuda["graphs"] is True
        assert [spec["batch_size"] for spec in cuda["graph_spec"]] == list(GRAPHS)
        for spec in cuda["graph_spec"]:
            assert spec["input"] == {"input_ids": {"dim": [str(bucket)]}}
        assert [w["batch_size"] for w in config["model_warmup"]] == [1, MAX_BATCH]
        built = json.loads((repository / "gpu" / served.name(bucket) / "build.json").read_text())
        assert built["profile"]["min"] == [1, bucket]
        assert built["profile"]["max"] == [config["max_batch_size"], bucket]


def test_buckets_end_at_the_longest_row(served, bundle):
    limit = bundle.manifest["max_tokens"]
    assert served.buckets[-1] == limit
    assert list(served.buckets) == sorted(set(served.buckets))
    assert served.bucket(1) == served.buckets[0]
    assert served.bucket(served.buckets[0] + 1) == served.buckets[1]
    with pytest.raises(EncoderError, match="fit no bucket"):
        served.bucket(limit + 1)


def test_labels_travel_in_order(repository, served, bundle):
    for kind in ("cpu", "gpu"):
        for bucket in served.buckets:
            for name in LABELLED:
                file = repository / kind / served.name(bucket) / f"{name}.txt"
                assert file.read_text().split() == bundle.manifest["labels"][name]


def test_a_wrong_model_is_named_fault_by_fault(repository, served):
    bucket = served.buckets[0]
    config = parsed(repository, served, "cpu")[bucket]
    swapped = json.dumps([*reversed(served.labels["tier"])])
    for key, value in {
        "labels_tier": swapped,
        "tokenizer_sha256": "0" * 64,
        "encoder_version": "another",
    }.items():
        other = replace(served, parameters={**served.parameters, key: value})
        (fault,) = faults(config, other, bucket)
        assert fault.startswith(f"router_{bucket} has {key} ")
        assert fault.endswith(value)
    assert len(faults(config, served, served.buckets[1])) == 2  # the name and the length
    widened = replace(served, widths={**served.widths, "task": 5})
    assert "answers" in faults(config, widened, bucket)[0]
    assert len(faults({}, served, bucket)) >= 3


def test_the_command_writes_where_it_is_told(tmp_path, capsys, served):
    main(["--to", str(tmp_path)])
    said = capsys.readouterr().out.split()
    assert len(said) == 2 * len(served.buckets)
    assert (tmp_path / "cpu" / served.name(served.buckets[0]) / "1" / "model.onnx").is_file()
