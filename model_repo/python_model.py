"""Triton's Python backend over ONNX Runtime: the CPU's twin of the TensorRT models.

Contract: one instance of one bucket. ``initialize`` refuses, with a sentence, a graph
that is not the manifest's, and labels, tokenizer or version that are not the
configuration's. ``execute`` runs all requests that Triton batched as one batch. Ids
outside the vocabulary read as the unknown token, because one bad row must not fail its
batch. Columns that are padding in every row are cut off: they change no answer.

Tensors come and go by DLPack, never by ``as_numpy`` or ``Tensor(name, array)``: the
backend of Triton 2.51 reads numpy 2's type descriptors at numpy 1's offsets, takes every
element for 0 bytes wide, and would read one id 64 times and answer nothing, without an
error.

Stands alone: Triton copies nothing else beside it and runs it in its own Python.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

INPUT = "input_ids"
STEP = 8  # ids; the sidecar in process pads to the same
UNKNOWN = 1


class TritonPythonModel:
    def initialize(self, args):
        self.config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        manifest = json.loads((folder / "manifest.json").read_text())
        raw = (folder / "model.onnx").read_bytes()
        if hashlib.sha256(raw).hexdigest() != manifest["files"]["model.int8.onnx"]:
            raise pb_utils.TritonModelException(
                f"{folder}/model.onnx is corrupt or belongs to another encoder: "
                "generate the model repository again"
            )
        self._check(manifest)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session = ort.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise pb_utils.TritonModelException(
                f"{folder}/model.onnx can't be loaded: {error}"
            ) from None
        self.outputs = [o["name"] for o in self.config["output"]]
        missing = set(self.outputs) - {o.name for o in self.session.get_outputs()}
        if missing:
            raise pb_utils.TritonModelException(f"the graph does not answer {sorted(missing)}")
        self.vocabulary = manifest["vocabulary"]

    def _check(self, manifest):
        given = {k: v["string_value"] for k, v in self.config["parameters"].items()}
        wanted = {
            "encoder_version": manifest["version"],
            "tokenizer_sha256": manifest["files"]["tokenizer.json"],
            "vocabulary": str(manifest["vocabulary"]),
        }
        wanted |= {f"labels_{k}": json.dumps(v) for k, v in manifest["labels"].items()}
        for key, value in wanted.items():
            if given.get(key) != value:
                raise pb_utils.TritonModelException(
                    f"{self.config['name']}: config.pbtxt has {key} {given.get(key)}, the "
                    f"encoder has {value}: generate the model repository again"
                )

    def execute(self, requests):
        rows = [np.from_dlpack(pb_utils.get_input_tensor_by_name(r, INPUT)) for r in requests]
        ids = np.concatenate(rows)
        ids = np.where((ids < 0) | (ids >= self.vocabulary), np.int32(UNKNOWN), ids)
        used = np.flatnonzero(ids.any(0))
        length = -(-(int(used[-1]) + 1 if len(used) else 1) // STEP) * STEP
        values = self.session.run(self.outputs, {INPUT: ids[:, :length]})
        values = [v.reshape(len(ids), -1).astype(np.float32, copy=False) for v in values]
        responses, start = [], 0
        for part in rows:
            end = start + len(part)
            tensors = [
                pb_utils.Tensor.from_dlpack(name, np.ascontiguousarray(value[start:end]))
                for name, value in zip(self.outputs, values, strict=True)
            ]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
            start = end
        return responses
