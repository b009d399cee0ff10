"""A pool of Triton servers behind one address: one gRPC channel, rows of ids in, readings out.

Contract: :meth:`Pool.send` starts a call and never cancels it: a cancel that races with
an answer has crashed servers, so a caller who stops waiting leaves the call to finish, its
answer dropped. What is under way is bounded by ``in_flight``. :meth:`Pool.verify` says
why the server must not be asked, if so: it is gone, a model is not loaded, or is of
another version, labels or tokenizer than this process's encoder.

The channel lives as long as the pool and connects again by itself. Its keepalive asks only
while a call is out and at most twice without data, which a server of default settings
accepts; more would be answered with "too many pings" and a closed connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from sidecar.encoder.model import INPUT, pad, readings
from sidecar.encoder.served import Served, faults
from sidecar.encoder.tokens import UNKNOWN, Ids
from sidecar.errors import (
    ClassifierDown,
    ClassifierError,
    ClassifierLate,
    ConfigError,
    EncoderError,
)
from sidecar.types import Reading

CHANNEL: Final = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 2),
    # a server that returns is found within a second, not within gRPC's two minutes
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 1 << 20),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),  # prompts do not leave by a proxy that was meant for others
)
CONTROL_S: Final = 1.0  # for a question about a model; such calls may be cancelled
PORTS: Final = "Triton has it on port 8001 unless told otherwise, and HTTP on 8000"
NO_GRPC: Final = ("Socket closed", "Expected SETTINGS frame")  # Triton's HTTP port; another's
EXTRA: Final = "pip install 'pointsman[gpu]'"
MISSING: Final = (
    "classifier.backend: triton needs the package tritonclient with gRPC, which is not "
    f"installed: {EXTRA}"
)


class Pool:
    """One channel to ``url``. Raises ConfigError where the client is not installed."""

    def __init__(self, url: str, served: Served, in_flight: int) -> None:
        try:
            import grpc  # noqa: PLC0415 - an optional extra
            from google.protobuf import json_format  # noqa: PLC0415
            from tritonclient.grpc import service_pb2, service_pb2_grpc  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError([MISSING]) from error
        self.url = url
        self._served = served
        self._limit = in_flight
        self._words = service_pb2
        self._plain: Callable[..., dict[str, Any]] = json_format.MessageToDict
        self._fault: type[Exception] = grpc.RpcError
        self._ready = grpc.ChannelConnectivity.READY
        self._channel = grpc.aio.insecure_channel(url, options=CHANNEL)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._calls: set[asyncio.Task[Reading]] = set()

    @property
    def in_flight(self) -> int:
        """Calls under way, those that nobody awaits any more included."""
        return len(self._calls)

    @property
    def full(self) -> bool:
        return len(self._calls) >= self._limit

    def send(self, ids: Ids) -> asyncio.Task[Reading]:
        """Ask for the reading of one row [length]. Await it with :func:`asyncio.wait`.

        The task raises ClassifierError: Late where the server's queue is full, Down else.
        """
        call = asyncio.create_task(self._infer(ids))
        self._calls.add(call)
        call.add_done_callback(self._finished)
        return call

    def _finished(self, call: asyncio.Task[Reading]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # seen: nobody may be waiting for it

    async def _infer(self, ids: Ids) -> Reading:
        bucket = self._served.bucket(len(ids))
        words = self._words
        tensor = words.ModelInferRequest.InferInputTensor(
            name=INPUT, datatype="INT32", shape=(1, bucket)
        )
        request = words.ModelInferRequest(
            model_name=self._served.name(bucket),
            inputs=[tensor],
            raw_input_contents=[pad([ids], bucket).tobytes()],
        )
        try:
            answer = await self._stub.ModelInfer(request)
        except self._fault as error:
            raise self._refusal(error) from None
        try:
            return self._reading(answer)
        except (EncoderError, ValueError, KeyError) as error:
            raise ClassifierDown(f"Triton answered what is no reading: {error}") from error

    def _reading(self, answer: Any) -> Reading:
        raw = dict(zip((o.name for o in answer.outputs), answer.raw_output_contents, strict=True))
        outputs = {}
        for name, width in self._served.widths.items():
            value = np.frombuffer(raw[name], "<f4")
            if len(value) != width:
                raise ValueError(f"{name} has {len(value)} numbers, not {width}")
            outputs[name] = value.reshape(1) if width == 1 else value.reshape(1, width)
        return readings(outputs, self._served.version)[0]

    def _refusal(self, error: Any) -> ClassifierError:
        """What a gRPC error means. A full queue is a wait that would be too long."""
        said = f"{error.code().name}: {error.details() or 'no details'}"
        if "maximum queue size" in said:
            return ClassifierLate("Triton's queue is full")
        if "failed to connect" in said and any(sign in said for sign in NO_GRPC):
            return ClassifierDown(f"what listens at {self.url} spoke no gRPC: {PORTS}")
        return ClassifierDown(f"Triton at {self.url} failed ({said})")

    async def verify(self, within_s: float | None) -> ClassifierError | None:
        """Why the server must not be asked; None if it may be.

        Asks every bucket for its configuration, then, unless ``within_s`` is None, each for
        one reading in that time: a server that is ready and too slow is as bad as none.
        """
        try:
            wrong = await asyncio.gather(*(self._wrong(b) for b in self._served.buckets))
        except self._fault as error:
            return self._refusal(error)
        said = [fault for each in wrong for fault in each]
        if said:
            more = f" (and {len(said) - 1} more)" if len(said) > 1 else ""
            return ClassifierDown(f"Triton at {self.url} serves another encoder: {said[0]}{more}")
        if within_s is None:
            return None
        if self.full:
            out = len(self._calls)
            return ClassifierLate(f"Triton at {self.url} has not answered {out} calls yet")
        calls = {self.send(np.full(b, UNKNOWN, np.int32)) for b in self._served.buckets}
        _, late = await asyncio.wait(calls, timeout=within_s)
        if late:
            # the next probe would only queue behind these
            await asyncio.wait(late, timeout=CONTROL_S)
            return ClassifierLate(f"Triton at {self.url} is slower than {within_s * 1e3:.3g} ms")
        failed = [call.exception() for call in calls]
        return next((each for each in failed if isinstance(each, ClassifierError)), None)

    async def _wrong(self, bucket: int) -> list[str]:
        request = self._words.ModelConfigRequest(name=self._served.name(bucket))
        answer = await self._stub.ModelConfig(request, timeout=CONTROL_S)
        config = self._plain(answer.config, preserving_proto_field_name=True)
        return faults(config, self._served, bucket)

    async def changed(self) -> bool:
        """Wait until the channel's state is another; True if it is connected then.

        Keeps it connecting, so that a server's return is noticed without any traffic.
        """
        state = self._channel.get_state(try_to_connect=True)
        await self._channel.wait_for_state_change(state)
        return bool(self._channel.get_state(try_to_connect=True) == self._ready)

    async def close(self, grace_s: float = 1.0) -> None:
        """Let what is under way finish for up to ``grace_s``, then close the channel."""
        if self._calls:
            await asyncio.wait(set(self._calls), timeout=grace_s)
        await self._channel.close()


__all__ = ["MISSING", "Pool"]
