"""Runs about decisions rather than time, as Markdown: policies, words, feedback, the engine."""

from __future__ import annotations

from typing import Any

from bench.report.rows import Results
from bench.report.tables import markdown, missing, ms, percent, thousands, under
from sidecar.offline.simulate_report import PUBLISHED

POLICIES = "python -m bench.policies ../shared/data/routing.jsonl.gz"
# What others publish for the mix of work they quote, by the quality kept.
_PUBLISHED = {
    kept: (name, f"{kept:.0%}".replace("%", " %"), percent(cut, 0)) for name, kept, cut in PUBLISHED
}


def at_the_cost_of_rules(results: Results) -> str:
    row = results.newest("policies", lambda f: "mmlu" in f)
    if row is None:
        return missing(POLICIES)
    found = row.figures["mmlu"]
    pair = found["abilities"]
    scores = sorted(found["at_the_cost_of_rules"].items(), key=lambda item: item[1])
    names = {"random": "drawn at random", "rules": "rules"}
    lines = [(names.get(name, f"`{name}`"), f"{score:.3f}") for name, score in scores]
    return under(
        f"{thousands(found['rows'])} rows of split test, {pair['weak']} (mean score "
        f"{found['always']['weak']:.3f}) and {pair['strong']} ({found['always']['strong']:.3f}), "
        f"serving abilities of encoder {row.figures['encoder']}.\n\n"
        + markdown(("at the cost of the stand-in rules", "mean score"), lines)
        + _leads(row.figures),
        row,
    )


def _leads(figures: dict[str, Any]) -> str:
    """By how much each policy beats the better of rules and random, source by source."""
    sources = [name for name, f in figures.items() if isinstance(f, dict) and "over_both" in f]
    if not sources:
        return ""
    lines = []
    for policy in figures[sources[0]]["over_both"]:
        cells = []
        for source in sources:
            lead = figures[source]["over_both"][policy]
            low, high = lead["by_95"]
            cells.append(f"{lead['by']:+.3f} ({low:+.3f} to {high:+.3f})")
        lines.append((f"`{policy}`", *cells))
    head = [f"{name}, {thousands(figures[name]['rows'])} rows" for name in sources]
    return (
        "\n\nThe lead over the better of rules and random at that cost, with the bootstrap's 95 % "
        "interval:\n\n" + markdown(("mean score", *head), lines)
    )


def field_mix(results: Results) -> str:
    row = results.newest("policies", lambda f: "field_mix" in f.get("mmlu", {}))
    if row is None:
        return missing(POLICIES)
    lines = []
    for asked, f in row.figures["mmlu"]["field_mix"].items():
        if asked == "rules":
            kept, cut = percent(f["retention"]), percent(f["cost_cut"])
            lines.append(("our stand-in rules", kept, cut, "", "", ""))
            continue
        low, high = (f"{x * 100:.1f}" for x in f["retention_95"])
        kept = f"{percent(f['retention'])} ({low} to {high})"
        name = f"asked to keep {float(asked):.0%}: `{f['policy']}`".replace("%:", " %:")
        lines.append((name, kept, percent(f["cost_cut"]), *_PUBLISHED[float(asked)]))
    head = ("", "quality kept", "cost cut", "published", "kept", "cut")
    return under(markdown(head, lines), row)


def gaming(results: Results) -> str:
    row = results.newest("gaming")
    if row is None:
        return missing("python -m bench.gaming --limit 300")
    names = {
        "downgrade": "call it easy: to a cheaper model",
        "upgrade": "call it hard: to a dearer model",
    }
    keys = ("of_those_that_could", "of_all", "worst_phrase")
    ways = [("", row.figures)]
    if "unguarded" in row.figures:  # rows before there was a guard have no other
        ways.append((", with `claims: read`", row.figures["unguarded"]))
    lines = [
        (names[kind] + way, *(percent(found[kind][key]) for key in keys))
        for way, found in ways
        for kind in names
    ]
    head = ("phrases", "moved, of those that could be", "of all", "the worst phrase")
    return under(markdown(head, lines), row)


def recovery(results: Results) -> str:
    row = results.newest("recovery")
    if row is None:
        return missing("python -m bench.recovery")
    f = row.figures
    names = {
        "right": "right, from the catalogue",
        "swapped": "swapped",
        "after_500": "swapped, after 500 scores",
        "after_1000": "swapped, after 1,000 scores",
        "after_1500": "swapped, after 1,500 scores",
        "after_2000": "swapped, after 2,000 scores",
    }
    lines = [
        (name, f"{f[key]['score']:.3f}", percent(f[key]["strong"], 0))
        for key, name in names.items()
        if key in f
    ]
    always = f"{f['always_weak']:.3f}, {f['always_strong']:.3f}"
    lines.append(("always the weak, always the strong", always, ""))
    return under(markdown(("abilities", "mean score", "to the strong model"), lines), row)


def engine(results: Results) -> str:
    row = results.newest("engine")
    if row is None:
        return missing("python -m bench.engine")
    runs = {"": row.figures["us"]}
    if "compiled_us" in row.figures:
        runs["compiled, "] = row.figures["compiled_us"]
    columns = [(by, key) for by in runs for key in ("p10", "p50", "p99")]
    lines = [
        (f"`{name}`", *(thousands(runs[by][name][key]) for by, key in columns))
        for name in row.figures["us"]
    ]
    head = (f"policy over {row.figures['models']} models, us", *(by + key for by, key in columns))
    return under(markdown(head, lines), row)


def encoder(results: Results) -> str:
    row = results.newest("encoder")
    if row is None:
        return missing("python -m bench.encoder")
    names = {
        "features_and_tokens_128_tokens_ms": "features and tokens, a prompt of 128",
        "features_and_tokens_200000_chars_ms": "the same, a prompt of 200,000 characters",
        "int8_1x128_ms": "the encoder in int8, one prompt of 128 tokens",
        "int8_16x64_ms": "the encoder in int8, 16 prompts of 64 tokens at once",
        "fp32_1x128_ms": "the encoder in fp32, one prompt of 128 tokens",
        "minilm_int8_1x128_ms": "all-MiniLM-L6-v2 in int8, one prompt of 128 tokens",
        "probabilities_of_5_models_ms": "the chances of five models",
    }
    lines = [(name, ms(row.figures[key])) for key, name in names.items() if key in row.figures]
    return under(markdown(("median", "ms"), lines), row)
