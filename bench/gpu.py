"""Everything that only a GPU can measure, by one command, on the day there is one.

    python -m bench.gpu [--only plans encoder kernels clients] [--triton HOST:PORT]

- ``plans``: builds the TensorRT plan of every bucket and compares it with fp32;
- ``encoder``: TensorRT, the padding-free encoder on kernels, its torch references, and
  those under torch.compile, over buckets and batch sizes, copies to and from the GPU included;
- ``kernels``: each kernel beside its reference, on the GPU alone;
- ``clients``: Triton end to end through the sidecar's own client, tokenising included, at 1
  to 512 clients spread over processes as over pods. The server is started with
  deploy/triton/start.sh where ``tritonserver`` is on the path, unless ``--triton`` names one.

Rows go to the results file, a table to the terminal. A part that fails is recorded with what
it had measured and why it went no further, the others follow, and the exit status is 1.
Without a GPU it says so and exits 2.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench import ground
from bench.gpu_clients import sweep
from kernels.trt import PlanError
from model_repo.cuda import Plan, lacking
from model_repo.parity import PANEL
from model_repo.plans import Site, ensure, here
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import INPUT, pad
from sidecar.encoder.tokens import Ids
from sidecar.errors import SidecarError

ROOT: Final = Path(__file__).parents[1]
WORK: Final = ROOT / ".work" / "gpu"
BATCHES: Final = (1, 8, 32)
CLIENTS: Final = (1, 8, 32, 128, 512)
PARTS: Final = ("plans", "encoder", "kernels", "clients")
REPEATS: Final = 200
SECONDS: Final = 20.0  # at each number of clients
WIDE: Final = 140  # columns of text
Figures = dict[str, Any]


def rows(bundle: Bundle, batch: int, length: int) -> list[Ids]:
    """Random ids that fill a bucket: the dearest rows it can hold."""
    rng = np.random.default_rng(batch * 1000 + length)
    return list(rng.integers(2, bundle.vocabulary, (batch, length)).astype(np.int32))


def timed(call: Callable[[], object], settle: Callable[[], object]) -> Figures:
    """Milliseconds of ``call`` until ``settle`` returns: median, 99th percentile, best."""
    for _ in range(20):
        call()
    settle()
    took = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call()
        settle()
        took.append((time.perf_counter() - began) * 1e3)
    took.sort()
    return {
        "p50_ms": round(statistics.median(took), 4),
        "p99_ms": round(took[int(len(took) * 0.99) - 1], 4),
        "best_ms": round(took[0], 4),
    }


def plans(site: Site) -> Iterator[tuple[str, Figures]]:
    """Each bucket's plan, built or found, with its size."""
    for bucket in site.served.buckets:
        began = time.perf_counter()
        raw = ensure(site, bucket, WORK / "plans")
        seconds = round(time.perf_counter() - began, 2)
        yield f"plan {bucket}", {"bytes": len(raw), "ready_s": seconds}


def torch_ways(bundle: Bundle, choices: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """name -> a function from rows of ids to the answers, back on the host."""
    from kernels.encoder import PackedEncoder  # noqa: PLC0415

    def way(choice: Any) -> Callable[[Sequence[Ids]], Any]:
        held = PackedEncoder.of_bundle(bundle, PANEL, choice, "model.fp32.onnx")
        return lambda ids: _home(held.read(ids))

    return {name: way(choice) for name, choice in choices.items()}


def compiled_way(bundle: Bundle, choice: Any, backend: str = "inductor") -> Callable[..., Any]:
    """The same under torch.compile, which compiles again for every number of rows and length.

    The references go from sequence to sequence: with lengths that are symbols tracing eight of
    them took 17 s of a CPU, before any code was written, with numbers 3 s.
    """
    import torch  # noqa: PLC0415

    from kernels.encoder import PackedEncoder  # noqa: PLC0415
    from kernels.ops import pack  # noqa: PLC0415

    held = PackedEncoder.of_bundle(bundle, PANEL, choice, "model.fp32.onnx")
    forward = torch.compile(held.forward, dynamic=False, backend=backend)
    return lambda ids: _home(forward(*pack(ids, held.stride, choice.device)))


def _needs_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise PlanError("encoder and kernels need torch: pip install 'pointsman[kernels]'")


def encoder(site: Site) -> Iterator[tuple[str, Figures]]:
    """Host to host, for every way to run it."""
    _needs_torch()
    import torch  # noqa: PLC0415 - the extra `kernels`

    from kernels.encoder import Choice, choose  # noqa: PLC0415

    plain = Choice("reference", "cuda", torch.float16, "reference: asked for")
    ways = torch_ways(site.bundle, {"kernels": choose("kernel"), "torch": plain})
    ways["torch.compile"] = compiled_way(site.bundle, plain)
    for bucket in site.served.buckets:
        plan = Plan(site.found, ensure(site, bucket, WORK / "plans"))
        for batch in BATCHES:
            ids = rows(site.bundle, batch, bucket)
            padded = pad(ids, bucket)
            where = f"{batch}x{bucket}"
            torch.compiler.reset()  # after a few shapes it would run the rest uncompiled
            yield f"tensorrt {where}", timed(lambda p=plan, x=padded: p.run(INPUT, x), _nothing)
            for name, way in ways.items():
                found = timed(lambda w=way, x=ids: w(x), torch.cuda.synchronize)
                yield f"{name} {where}", found
        plan.close()


def _nothing() -> None:
    """A plan's run waits for its own answer."""


def _home(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value.cpu() for name, value in found.items()}


def kernels(site: Site) -> Iterator[tuple[str, Figures]]:
    """Each op as kernel, reference and compiled reference, at the encoder's own sizes.

    Microseconds on the GPU alone, the cache cleared before each run (Triton's do_bench),
    beside the floor that the card's published peaks imply, where they are known.
    """
    _needs_torch()
    import torch  # noqa: PLC0415
    from triton.testing import do_bench  # noqa: PLC0415

    from bench.gpu_ops import arguments, floor_us  # noqa: PLC0415
    from kernels.ops import OPS  # noqa: PLC0415

    for bucket in site.served.buckets:
        for batch in BATCHES:
            for name, (args, options) in arguments(site.bundle, batch, bucket).items():
                op = OPS[name]
                torch.compiler.reset()  # after a few shapes it would run the rest uncompiled
                compiled = torch.compile(op.reference)
                ways = {"kernel": op.kernel, "reference": op.reference, "compiled": compiled}
                found: Figures = {}
                for way, call in ways.items():
                    ms = do_bench(
                        lambda c=call, a=args, o=options: c(*a, **o), return_mode="median"
                    )
                    found[f"{way}_us"] = round(ms * 1e3, 2)
                found["floor_us"] = floor_us(site.bundle, site.gpu.name, name, batch, bucket)
                yield f"{name} {batch}x{bucket}", found


def clients(site: Site, url: str | None) -> Iterator[tuple[str, Figures]]:
    """Triton end to end, at every number of clients."""
    with contextlib.ExitStack() as stack:
        where = url or stack.enter_context(server())
        for count in CLIENTS:
            yield f"{count} clients", sweep(where, count, SECONDS)


@contextlib.contextmanager
def server(kind: str = "gpu", within_s: float = 600.0) -> Iterator[str]:
    """Triton over a repository, started as its image starts it; its gRPC address.

    On ports that nobody has: what else is served on a GPU machine is on 8000 as often as not.
    """
    if shutil.which("tritonserver") is None:
        raise PlanError(
            "tritonserver is not on the path: run this in the image `triton`, or name a "
            "running server with --triton HOST:PORT"
        )
    settings = {"KIND": kind, "MODELS": str(WORK / "models"), "PLANS": str(WORK / "plans")}
    ports = {name: ground.free_port() for name in ("http", "grpc", "metrics")}
    script = ["bash", str(ROOT / "deploy" / "triton" / "start.sh")]
    for name, port in ports.items():
        script += [f"--{name}-address=127.0.0.1", f"--{name}-port={port}"]
    process = subprocess.Popen(script, env={**os.environ, **settings}, cwd=ROOT)
    ready = f"http://127.0.0.1:{ports['http']}/v2/health/ready"
    try:
        end = time.monotonic() + within_s
        while True:
            with (
                contextlib.suppress(OSError, urllib.error.URLError),
                urllib.request.urlopen(ready, timeout=5),
            ):
                break
            if process.poll() is not None or time.monotonic() > end:
                raise PlanError("tritonserver did not become ready: its log is above")
            time.sleep(0.5)
        yield f"127.0.0.1:{ports['grpc']}"
    finally:
        process.terminate()
        process.wait()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--triton", metavar="HOST:PORT", help="a server that runs already")
    args = parser.parse_args(arguments)
    why = lacking()
    if why:
        said = f"There is no GPU here that CUDA can use ({why}): nothing was measured."
        print(said, file=sys.stderr)
        return 2
    try:
        return measure(here(Bundle.load()), args.only, args.triton)
    except SidecarError as error:
        print(error, file=sys.stderr)
        return 1


def measure(site: Site, only: Sequence[str], url: str | None) -> int:
    """Every part of ``only``, in order; 1 if one of them was not finished."""
    parts: dict[str, Callable[[], Iterator[tuple[str, Figures]]]] = {
        "plans": lambda: plans(site),
        "encoder": lambda: encoder(site),
        "kernels": lambda: kernels(site),
        "clients": lambda: clients(site, url),
    }
    missed = 0
    for part in only:
        found, fault = collected(track(parts[part](), f"{part} ...", transient=True))
        show(part, found)
        figures: dict[str, Any] = {"gpu": site.gpu.name, "tensorrt": site.found.name, **found}
        if fault:
            print(f"{part} went no further: {fault}", file=sys.stderr)
            figures["failed"] = fault
            missed = 1
        ground.record("gpu", {"part": part, **figures})
    return missed


def collected(rows: Iterable[tuple[str, Figures]]) -> tuple[dict[str, Figures], str]:
    """All ``rows`` until one fails, and why it did: an hour of a GPU is not had again."""
    found: dict[str, Figures] = {}
    try:
        for name, figures in rows:
            found[name] = figures
    except SidecarError as error:
        return found, str(error)
    except Exception as error:  # whatever torch, TensorRT or a server may raise
        traceback.print_exc()
        return found, f"{type(error).__name__}: {error}"
    return found, ""


def show(part: str, found: dict[str, Figures]) -> None:
    table = Table(title=part, box=None)
    columns = list(dict.fromkeys(key for figures in found.values() for key in figures))
    for title in ("", *columns):
        table.add_column(title, justify="right" if title else "left")
    for name, figures in found.items():
        table.add_row(name, *(str(figures.get(column, "")) for column in columns))
    console = Console()
    if not console.is_terminal:  # a log has no edge to cut columns at
        console.width = WIDE
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
