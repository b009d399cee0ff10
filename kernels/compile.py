"""Every kernel compiled ahead of time, and what the compiler made of it.

``python -m kernels.compile`` prints a table: registers a thread, shared memory and
spills of each kernel in each type for sm_80, sm_89 and sm_90, at the sizes of the
shipped encoder (from its manifest). ``--write`` keeps it as ``resources.json`` and
``RESOURCES.md`` here. No GPU is needed: Triton lowers to PTX, the assembler in its
package makes the machine code, and the ``cuobjdump`` in its package reads back what
that code occupies. The figures are properties of the code, not of its speed.

Must run without TRITON_INTERPRET, which replaces the kernels by Python functions.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from kernels import embed_norm, pool_heads, varlen_attention
from kernels.lang import INTERPRETED, MISSING, options
from kernels.ops import KernelError

TARGETS = (80, 89, 90)  # A100; L4 and L40S; H100 and H200
HERE = Path(__file__).parent
POINTERS = {torch.float16: "*fp16", torch.float32: "*fp32"}
NAMES = {torch.float16: "fp16", torch.float32: "fp32"}


@dataclass(frozen=True, slots=True)
class Sizes:
    """What of an encoder its kernels are compiled for."""

    embed: int
    width: int
    heads: int
    queries: int
    demand: int
    labels: tuple[int, int, int]

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any], queries: int = 4) -> Sizes:
        """The sizes in a bundle's manifest, which leaves out the pooling's queries."""
        shape, labels = manifest["shape"], manifest["labels"]
        tasks, domains, tiers = (len(labels[name]) for name in ("task", "domain", "tier"))
        return cls(
            embed=shape["embed"],
            width=shape["width"],
            heads=shape["heads"],
            queries=queries,
            demand=manifest["demand"],
            labels=(tasks, domains, tiers),
        )

    @classmethod
    def kept(cls) -> Sizes:
        """The sizes that the committed tables were made for."""
        kept = json.loads((HERE / "resources.json").read_text())["sizes"]
        return cls(**{**kept, "labels": tuple(kept["labels"])})


@dataclass(frozen=True, slots=True)
class Spec:
    """One kernel, ready for the compiler: argument types by name, constants, warps."""

    op: str
    kernel: Any
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    warps: int


@dataclass(frozen=True, slots=True)
class Compiled:
    """One kernel for one target."""

    op: str
    name: str  # of the entry in the code
    target: int  # compute capability, major and minor
    ptx: str
    cubin: bytes
    shared: int  # bytes a block asks for at launch
    threads: int
    scratch: int  # bytes of global memory that Triton's launcher would have to bring


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    op: str
    dtype: str
    target: int
    threads: int
    registers: int  # a thread
    shared: int  # bytes a block
    spills: int  # bytes a thread of local memory and stack: 0 or registers did not suffice


def _signature(kernel: Any, kinds: Mapping[str, str], constants: Mapping[str, Any]) -> dict:
    """Argument types in the kernel's own order: constants marked, the rest by ``kinds``."""
    return {n: "constexpr" if n in constants else kinds[n] for n in kernel.arg_names}


def specs(sizes: Sizes, dtype: torch.dtype) -> dict[str, Spec]:
    """Every op's kernel for one encoder in one type, by name."""
    number = POINTERS[dtype]
    made: dict[str, Spec] = {}

    def add(op: str, module: Any, kernel: Any, constants: dict, **kinds: str) -> None:
        signature = _signature(kernel, kinds, constants)
        made[op] = Spec(op, kernel, signature, constants, module.WARPS)

    add(
        "embed_norm",
        embed_norm,
        embed_norm.embed_norm_kernel,
        embed_norm.constants(sizes.embed, 1, 1e-5),
        ids="*i32",
        cu_seqlens="*i32",
        **dict.fromkeys(("tokens", "positions", "weight", "bias", "out"), number),
        **dict.fromkeys(("total", "sequences", "vocabulary", "places"), "i32"),
    )
    add(
        "varlen_attention",
        varlen_attention,
        varlen_attention.varlen_attention_kernel,
        varlen_attention.constants(sizes.heads, sizes.width // sizes.heads, dtype),
        cu_seqlens="*i32",
        **dict.fromkeys(("qkv", "out"), number),
        **dict.fromkeys(("total", "sequences"), "i32"),
    )
    add(
        "pool_heads",
        pool_heads,
        pool_heads.pool_heads_kernel,
        pool_heads.constants(sizes.width, sizes.queries, sizes.demand, sizes.labels),
        cu_seqlens="*i32",
        abilities="i32",
        **dict.fromkeys(("x", "query", "mix", "mix_bias", "head", "head_bias"), number),
        **dict.fromkeys(("slope", "shift", "heads_out", "suffices_out"), "*fp32"),
    )
    return made


def compile_for(spec: Spec, target: int, ptx_version: int | None = None) -> Compiled:
    """Compile one kernel for compute capability ``target`` (90 is 9.0); no GPU needed.

    ``ptx_version`` (83 is 8.3) is the assembler's newest by default; an older one serves
    older drivers.
    Raises KernelError where Triton is missing or interprets.
    """
    if MISSING or INTERPRETED:
        raise KernelError(MISSING or "TRITON_INTERPRET is set: kernels are not compiled here")
    import triton  # noqa: PLC0415 - absent on machines that only run the references
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415
    from triton.compiler import ASTSource  # noqa: PLC0415

    # Tensors come from an allocator that aligns to 256 bytes; the launcher would find out.
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, kind in enumerate(spec.signature.values())
        if kind.startswith("*")
    }
    source = ASTSource(spec.kernel, dict(spec.signature), dict(spec.constants), aligned)
    wanted = options(spec.warps) | ({"ptx_version": ptx_version} if ptx_version else {})
    made = triton.compile(source, target=GPUTarget("cuda", target, 32), options=wanted)
    return Compiled(
        op=spec.op,
        name=made.metadata.name,
        target=target,
        ptx=made.asm["ptx"],
        cubin=made.asm["cubin"],
        shared=made.metadata.shared,
        threads=spec.warps * 32,
        scratch=made.metadata.global_scratch_size + made.metadata.profile_scratch_size,
    )


def occupied(cubin: bytes) -> dict[str, int]:
    """What ``cuobjdump --dump-resource-usage`` says: REG, STACK, SHARED, LOCAL and so on."""
    from triton.backends import nvidia  # noqa: PLC0415

    tool = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        said = subprocess.run(  # noqa: S603 - the package's own tool on our own file
            [tool, "--dump-resource-usage", file], capture_output=True, text=True, check=True
        ).stdout
    found = {name: int(n) for name, n in re.findall(r"\b([A-Z]+):(\d+)", said)}
    if not {"REG", "STACK", "LOCAL"} <= set(found):
        raise KernelError(f"cuobjdump's answer has no resource usage: {said.strip()!r}")
    return found


def table(sizes: Sizes, targets: tuple[int, ...] = TARGETS) -> list[Row]:
    """Every kernel, type and target, compiled and read back."""
    rows = []
    for dtype in (torch.float16, torch.float32):
        for spec in specs(sizes, dtype).values():
            for target in targets:
                made = compile_for(spec, target)
                used = occupied(made.cubin)
                rows.append(
                    Row(
                        op=made.op,
                        dtype=NAMES[dtype],
                        target=target,
                        threads=made.threads,
                        registers=used["REG"],
                        shared=made.shared,
                        spills=used["STACK"] + used["LOCAL"],
                    )
                )
    return rows


def markdown(rows: list[Row]) -> str:
    """The table as people read it."""
    lines = [
        "| op | type | target | threads a block | registers a thread | shared bytes a block "
        "| spilled bytes a thread |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.op} | {r.dtype} | sm_{r.target} | {r.threads} | {r.registers} | {r.shared} "
        f"| {r.spills} |"
        for r in rows
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; exit status 1 if a kernel spills."""
    from sidecar.encoder.abilities import Catalogue  # noqa: PLC0415
    from sidecar.encoder.bundle import Bundle  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="python -m kernels.compile", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the table beside the kernels")
    args = parser.parse_args(arguments)
    import triton  # noqa: PLC0415

    bundle = Bundle.load()
    sizes = Sizes.of_manifest(bundle.manifest)
    rows = table(sizes)
    print(markdown(rows))
    if args.write:
        kept = {
            "triton": triton.__version__,
            "sizes": asdict(sizes),
            "stride": bundle.manifest["shape"]["stride"],
            "models": len(Catalogue.of(bundle).names),
            "rows": [asdict(r) for r in rows],
        }
        (HERE / "resources.json").write_text(json.dumps(kept, indent=1) + "\n")
        (HERE / "RESOURCES.md").write_text(
            "# What the compiled kernels occupy\n\n"
            f"Written by `python -m kernels.compile --write` with Triton {triton.__version__}; "
            "read back from the machine code, no GPU involved.\n\n" + markdown(rows) + "\n"
        )
    return int(any(r.spills for r in rows))


if __name__ == "__main__":
    sys.exit(main())
