"""Triton's gRPC service in this process, with scripted answers: cheap to stop and start.

For what the real server can't be made to do in milliseconds: fifty restarts, an answer
that comes late, a queue that is full, bytes that are no reading. Its configurations are
those that ``model_repo`` writes.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import grpc
import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from model_repo.generate import config
from sidecar.encoder.served import Served


class ScriptedTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, served: Served) -> None:
        self.served = served
        self.delay_s = 0.0
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.broken = False  # answers with the wrong number of bytes
        self.asked: list[tuple[str, np.ndarray]] = []
        self.configured = 0  # questions for a configuration
        self.finished = 0
        self.cancelled = 0
        self.under_way = 0
        self.most_under_way = 0
        self._server: Any = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"127.0.0.1:{free.getsockname()[1]}"

    async def start(self) -> None:
        self._server = grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.url)
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    async def ModelConfig(self, request: Any, context: Any) -> Any:
        self.configured += 1
        bucket = int(request.name.rpartition("_")[2])
        message = text_format.Parse(
            config(self.served, bucket, "cpu"), model_config_pb2.ModelConfig()
        )
        return service_pb2.ModelConfigResponse(config=message)

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        (tensor,) = request.inputs
        ids = np.frombuffer(request.raw_input_contents[0], "<i4").reshape(tensor.shape)
        self.asked.append((request.model_name, ids))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        self.finished += 1
        if self.failure is not None:
            await context.abort(*self.failure)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        for name, width in self.served.widths.items():
            answer.outputs.add(name=name, datatype="FP32", shape=(1, width))
            raw = np.full(width + self.broken, 0.25, "<f4").tobytes()
            answer.raw_output_contents.append(raw)
        return answer
