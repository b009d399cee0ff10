"""The images' file is linted, copies what there is, and its start script runs without Docker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from model_repo.cuda import gpu
from sidecar.encoder.bundle import Bundle
from sidecar.encoder.served import Served
from tests.support.triton import TritonServer

ROOT = Path(__file__).parents[2]
FILE = ROOT / "Dockerfile.gpu"
START = ROOT / "deploy" / "triton" / "start.sh"


def hadolint() -> str | None:
    beside = Path(sys.executable).parent / "hadolint"
    return str(beside) if beside.is_file() else shutil.which("hadolint")


@pytest.mark.skipif(hadolint() is None, reason="hadolint is not installed: the extra `engines`")
def test_the_file_has_no_lint() -> None:
    command = [str(hadolint()), "--no-color", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


def stages() -> dict[str, list[str]]:
    """name -> its instructions, continuation lines joined."""
    text = re.sub(r"\\\n\s*", " ", FILE.read_text())
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if match := re.match(r"FROM \S+ AS (\w+)", line):
            found[match[1]] = []
        elif found and line.strip() and not line.startswith("#"):
            found[list(found)[-1]].append(line)
    return found


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    kept = (ROOT / ".dockerignore").read_text().split()
    for lines in stages().values():
        for line in lines:
            if not line.startswith("COPY ") or "--from=" in line:
                continue
            *sources, _ = [word for word in line.split()[1:] if not word.startswith("--")]
            for source in sources:
                assert (ROOT / source).exists(), line
                assert f"!{source.removeprefix('./')}" in kept


@pytest.mark.parametrize("target", ["triton", "sidecar", "bench"])
def test_a_target_ends_as_a_user_that_is_not_root(target: str) -> None:
    users = [line for line in stages()[target] if line.startswith("USER ")]
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", users[-1])


def test_the_sidecars_image_has_neither_torch_nor_cuda() -> None:
    text = "\n".join(stages()["built"] + stages()["sidecar"])
    assert "'.[gpu,inject]'" in text  # what it serves with, and the webhook
    assert not re.search(r"torch|cuda|nvcr|kernels|\btrain", text)


def test_the_sidecars_image_runs_a_compiled_request_path_and_has_no_compiler() -> None:
    (built,) = (line for line in stages()["built"] if "compiled.py /opt/compiled" in line)
    assert "cp -a /opt/compiled/. /opt/pointsman/lib/python3.11/site-packages/" in built
    assert 'assert pipeline.__file__.endswith(".so")' in built
    assert [line for line in stages()["sidecar"] if line.startswith(("COPY", "RUN"))] == [
        "COPY --from=built /opt/pointsman /opt/pointsman"
    ]


def test_the_base_release_is_pinned_and_plans_are_built_by_its_own_tensorrt() -> None:
    text = FILE.read_text()
    assert re.search(r"^ARG TRITON_RELEASE=\d\d\.\d\d$", text, re.MULTILINE)
    assert "latest" not in text


@pytest.mark.parametrize(
    ("said", "fits"),
    [
        ("10.13.3.9", "10.13.3.9"),
        ("10.13.3.9+cuda13.0", "10.13.3.9.post1"),
        ("10.14.1.48-1+cuda13.0", "10.14.1.48.post1"),  # all that the index has of it
    ],
)
def test_the_bindings_are_of_the_version_that_the_base_image_names(said: str, fits: str) -> None:
    (line,) = (each for each in stages()["triton"] if "tensorrt_cu13_bindings" in each)
    (named,) = re.findall(r'(version="[^"]*")', line)
    (wanted,) = re.findall(r'"(tensorrt_cu13_bindings\S*)"', line)
    done = subprocess.run(
        ["bash", "-c", f'set -eu; {named}; echo "{wanted}"'],
        env={"TRT_VERSION": said},
        capture_output=True,
        text=True,
        check=True,
    )
    bindings = Requirement(done.stdout.strip()).specifier
    assert bindings.contains(fits)
    for other in ("10.13.2.6", "10.13.3.90", "10.14.1.4", "10.15.1.29", "11.4.0.106"):
        assert not bindings.contains(other)


def copied(target: str, to: Path) -> Path:
    """What an image over the base holds of this repository, laid out as there."""
    to.mkdir()
    lines = stages()["triton"] + (stages()[target] if target != "triton" else [])
    for line in lines:
        if line.startswith("COPY "):
            *sources, place = [word for word in line.split()[1:] if not word.startswith("--")]
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, to / place, dirs_exist_ok=True)
                else:
                    shutil.copy(ROOT / source, to / place)
    return to


def test_the_image_has_what_its_start_script_runs(tmp_path: Path) -> None:
    home = copied("triton", tmp_path / "image")
    done = start(tmp_path, home, KIND="cpu")
    assert done.returncode == 0, done.stderr
    assert "asked: " in done.stdout


def test_the_image_that_measures_has_what_the_benchmark_imports(tmp_path: Path) -> None:
    if gpu() is not None:
        pytest.skip("this machine has a GPU")
    home = copied("bench", tmp_path / "image")
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu"],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(home)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("There is no GPU here")
    text = "\n".join(stages()["bench"])
    assert "'.[gpu,kernels]'" in text
    assert 'ENTRYPOINT ["python3", "-m", "bench.gpu"]' in text


# -- the start script -------------------------------------------------------------------


def start(tmp_path: Path, home: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script where ``tritonserver`` is a program that says what it was asked."""
    stub = tmp_path / "bin" / "tritonserver"
    stub.parent.mkdir()
    stub.write_text('#!/bin/sh\necho "asked: $*"\n')
    stub.chmod(0o755)
    path = f"{stub.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    settings = {"MODELS": str(tmp_path / "models"), "PLANS": str(tmp_path / "plans"), **env}
    return subprocess.run(
        ["bash", str(home / START.relative_to(ROOT)), "--log-verbose=1"],
        cwd=home,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(home), **settings},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_it_serves_the_repository_of_its_kind_under_the_configured_name(tmp_path: Path) -> None:
    done = start(tmp_path, KIND="cpu", MODEL="gate")
    repository = tmp_path / "models" / "cpu"
    assert done.returncode == 0, done.stderr
    asked = done.stdout.strip().removeprefix("asked: ").split()
    assert asked[0] == f"--model-repository={repository}"
    assert "--grpc-max-connection-age=300000" in asked
    assert asked[-1] == "--log-verbose=1"
    names = {folder.name for folder in repository.iterdir()}
    served = Served.of(Bundle.load(), "gate")
    assert names == {served.name(bucket) for bucket in served.buckets}


def test_without_a_gpu_it_does_not_serve_plans(tmp_path: Path) -> None:
    if gpu() is not None:
        pytest.skip("this machine has a GPU")
    done = start(tmp_path, KIND="gpu")
    assert done.returncode == 1
    assert done.stderr.startswith("there is no GPU here that CUDA can use")
    assert "asked" not in done.stdout


def test_a_stop_while_plans_are_built_ends_the_building_too(tmp_path: Path) -> None:
    """Which would be minutes: here a program in its place sleeps as long."""
    slow = tmp_path / "slow" / "python3"
    slow.parent.mkdir()
    slow.write_text(
        f"""#!/bin/sh
case "$*" in
  *model_repo.plans*) echo "building $$"; exec sleep 300 ;;
  *) exec {sys.executable} "$@" ;;
esac
"""
    )
    slow.chmod(0o755)
    env = {"PATH": f"{slow.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "KIND": "gpu"}
    env |= {"MODELS": str(tmp_path / "models"), "PLANS": str(tmp_path / "plans")}
    with subprocess.Popen(
        ["bash", str(START)], cwd=ROOT, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True
    ) as script:
        assert script.stdout is not None
        word, number = script.stdout.readline().split()
        assert word == "building"
        script.terminate()
        assert script.wait(20) == 143
        assert script.stdout.read() == ""  # its end: nobody holds it any more
    assert not Path(f"/proc/{number}").exists()


def test_auto_is_the_cpu_where_there_is_no_driver(tmp_path: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")
    assert "/cpu" in start(tmp_path).stdout


def test_a_kind_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    done = start(tmp_path, KIND="tpu")
    assert done.returncode == 2
    assert "KIND is tpu: use gpu, cpu or auto" in done.stderr


@pytest.mark.parametrize("age", ["0", "5m", "-1", "1.5"])
def test_an_age_that_is_none_is_refused(tmp_path: Path, age: str) -> None:
    done = start(tmp_path, KIND="cpu", AGE_S=age)
    assert done.returncode == 2
    assert f"AGE_S is {age}: use whole seconds" in done.stderr


def test_the_real_server_runs_by_it(triton_server: TritonServer) -> None:
    assert triton_server.script == START
    assert triton_server.process.poll() is None
