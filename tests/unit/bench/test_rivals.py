"""The race is fair: who answers less is out with the reason, and all of a rival's CPU counts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bench import proxy
from bench.rivals import classify
from bench.rivals.classify import Judge
from bench.rivals.install import CannotRunError
from bench.rivals.manifest import Classifier, Install, Manifest, Proxy, all_of_them
from bench.rivals.race import race

SHORT = """
import asyncio, sys
from bench.raw import END, EVENT, STREAM_HEAD, answer

async def talk(reader, writer):
    while head := await reader.readuntil(b"\\r\\n\\r\\n"):
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        body = await reader.readexactly(length)
        {reply}

async def main():
    async with await asyncio.start_server(talk, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()

asyncio.run(main())
"""
CUTS = "writer.write(STREAM_HEAD + EVENT + END if b'\"stream\": true' in body else answer())"
CLOSES = "writer.write(answer()); writer.close(); return"
REFUSES = (
    "writer.write(answer() if b'ready?' in body else "
    "b'HTTP/1.1 503 Down\\r\\nContent-Length: 2\\r\\n\\r\\n{{}}')"
)


def rival(name: str, reply: str) -> Manifest:
    script = SHORT.format(reply=reply.replace("{{}}", "{}"))
    how = Proxy(
        command=("{python}", "-c", script, "{port}"), env={"PYTHONPATH": "{root}"}, start_s=60
    )
    return Manifest(name=name, what="answers badly", install=Install(), proxy=how)


@pytest.mark.skipif("sys.platform != 'linux'")
def test_who_answers_less_is_out_with_the_reason_and_the_others_go_on() -> None:
    good = next(m for m in all_of_them() if m.name == "plain aiohttp")
    bad = [rival("cuts", CUTS), rival("closes", CLOSES), rival("refuses", REFUSES)]
    found = race([*bad, good], requests=40, rounds=1, clients=2, install=False)
    assert found["proxies"].keys() == {"plain aiohttp"}
    row = found["proxies"]["plain aiohttp"]
    assert row["request"]["errors"] == row["stream"]["errors"] == 0
    assert row["request"]["cpu_us"] > 0
    absent = found["cannot_run_here"]
    assert re.search(r"stream: \d+ of \d+ answers were not whole", absent["cuts"])
    assert "a connection was closed" in absent["closes"]
    assert re.search(r"request: 40 of 40 answers were not whole", absent["refuses"])


def test_a_judge_that_breaks_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere")
    monkeypatch.setattr("bench.rivals.classify.SCRIPTS", tmp_path)
    broken = Classifier(script="broken.py")
    manifest = Manifest(name="broken", what="breaks", install=Install(), classifier=broken)
    with pytest.raises(CannotRunError, match="No module named"):
        Judge(manifest, {"easy": [], "hard": []}, install=False)


JUDGE = """
import json, sys, time
sys.stdin.readline()
print("hello, I am loaded")
print(json.dumps({"ready": True}), flush=True)
for number, line in enumerate(sys.stdin):
    if number == HANGS:
        time.sleep(600)
    print(json.dumps({"ms": 1.0 + number, "score": len(json.loads(line)["prompt"])}), flush=True)
"""


def test_a_judge_that_hangs_is_out_with_the_reason_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "steady.py").write_text(JUDGE.replace("HANGS", "-1"))
    (tmp_path / "hangs.py").write_text(JUDGE.replace("HANGS", "2"))
    monkeypatch.setattr("bench.rivals.classify.SCRIPTS", tmp_path)
    monkeypatch.setattr("bench.rivals.classify.ANSWER_S", 2.0)
    rows = [
        {"source": source, "split": "test", "prompt": "x" * n, "scores": {weak: n % 2, strong: 1}}
        for source, weak, strong in classify.PAIRS
        for n in range(1, 9)
    ]
    monkeypatch.setattr("bench.rivals.classify._rows", lambda: rows)
    ours, *others = (
        Manifest(name=n, what=n, install=Install(), classifier=Classifier(script=f"{script}.py"))
        for n, script in (("pointsman", "steady"), ("hangs", "hangs"), ("steady", "steady"))
    )
    monkeypatch.setattr("bench.rivals.classify.OURS", ours)
    found = classify.judge(others, 4, install=False)
    assert found["classifiers_that_cannot_run_here"] == {"hangs": "no answer within 2 s"}
    assert found["classifiers"]["latency_ms"].keys() == {"pointsman", "steady"}
    assert found["classifiers"]["latency_ms"]["steady"]["p50"] == 2.5
    for part in found["classifiers"]["quality"].values():
        assert part.keys() == {"rows", "weak", "strong", "pointsman", "steady"}


def test_the_cpu_of_threads_that_ended_and_of_every_child_is_counted() -> None:
    script = """if True:
        import subprocess, sys, threading, time
        def burn():
            end = time.thread_time() + 0.2
            while time.thread_time() < end: pass
        thread = threading.Thread(target=burn); thread.start(); thread.join()
        child = []
        def start():
            child.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1))
            time.sleep(60)
        threading.Thread(target=start, daemon=True).start()
        while not child: time.sleep(0.01)
        print(child[0].pid, flush=True)
        sys.stdin.readline(); child[0].kill()
    """
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=-1, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert proxy._cpu_ns(process.pid) >= 0.2e9
        assert set(proxy._family(process.pid)) == {process.pid, child}
        process.communicate("done\n", timeout=60)
    assert proxy._cpu_ns(process.pid) == 0
    assert proxy._family(process.pid) == []


def test_every_rival_is_of_one_version() -> None:
    for manifest in all_of_them():
        for package in manifest.install.pip:
            if package != "openai<3":  # as its litellm wants; the run records which it was
                assert "==" in package, f"{manifest.name}: {package}"
        for package in manifest.install.npm:
            assert re.fullmatch(r"@?[\w/-]+@[\d.]+", package), f"{manifest.name}: {package}"


def test_all_are_told_what_they_are_asked_and_ours_says_where_a_cache_answers() -> None:
    by_name = {manifest.name: manifest for manifest in all_of_them()}
    reading = by_name["pointsman-reading"].proxy
    assert reading is not None
    config = yaml.safe_load(reading.files["sidecar.yaml"])
    assert config["decision_cache"] == config["sessions"] == {"entries": 0}
    assert "cache" in by_name["pointsman-auto"].what
