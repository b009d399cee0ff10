"""``sidecar inject``: the admission webhook, and the patch it would apply to a pod."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import Any, Final

import orjson
import yaml

from sidecar.commands.serve import port_address
from sidecar.errors import DataError, SidecarError

# Where each kind of object has its pod.
_TEMPLATES: Final = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


def register(subparsers: Any) -> None:
    command = subparsers.add_parser("inject", help="put the sidecar into Kubernetes pods")
    verbs = command.add_subparsers(metavar="VERB", required=True)

    patch = verbs.add_parser(
        "patch",
        help="print the JSON patch for a pod, or for what makes pods",
        description="Print what the admission webhook would change in the objects of a file. "
        "Nothing is sent to a cluster.",
    )
    patch.add_argument("file", metavar="POD.yaml", help="Pods, Deployments, Jobs ...; - is stdin")
    patch.add_argument("--settings", type=Path, metavar="FILE", help="the webhook's settings")
    patch.add_argument("--namespace", default="", metavar="NAME", help="where it will be made")
    shown = patch.add_mutually_exclusive_group()
    shown.add_argument("--diff", action="store_true", help="show what changes, line by line")
    shown.add_argument("--yaml", action="store_true", help="print the patched object")
    patch.set_defaults(func=run_patch)

    serve = verbs.add_parser(
        "serve",
        help="serve the admission webhook until SIGTERM",
        description="Serve the admission webhook that puts the sidecar into pods, until SIGTERM.",
    )
    serve.add_argument("--settings", type=Path, metavar="FILE", help="of what is injected")
    serve.add_argument(
        "--listen",
        type=port_address,
        default="0.0.0.0:8443",
        metavar="HOST:PORT",
        help="HTTPS",
    )
    serve.add_argument(
        "--probes",
        type=port_address,
        default="0.0.0.0:8081",
        metavar="HOST:PORT",
        help="probes and metrics, HTTP",
    )
    serve.add_argument(
        "--tls-dir", required=True, type=Path, metavar="DIR", help="with tls.crt and tls.key"
    )
    serve.add_argument(
        "--namespace", default="", metavar="NAME", help="its own, which is never injected"
    )
    serve.add_argument(
        "--linger-s", type=float, default=5.0, metavar="S",
        help="served on after SIGTERM, until nobody is sent here any more (5)",
    )  # fmt: skip
    keeper = serve.add_argument_group("certificates of its own making")
    keeper.add_argument(
        "--self-signed", action="store_true", help="make them, renew them, tell the API server"
    )
    keeper.add_argument("--secret", metavar="NAME", help="where the replicas share them")
    keeper.add_argument("--webhook", metavar="NAME", help="the MutatingWebhookConfiguration")
    keeper.add_argument(
        "--dns", action="append", default=[], metavar="NAME", help="a name it is asked by"
    )
    serve.set_defaults(func=run_serve)


def run_patch(args: argparse.Namespace) -> int:
    inject, patched, settings = _machinery(args.settings)
    before = _objects(args.file)
    if not any(str(each.get("kind")) in _TEMPLATES for each in before):
        kinds = ", ".join(repr(each.get("kind")) for each in before[:5])
        known = ", ".join(_TEMPLATES)
        raise DataError(f"{args.file}: kind {kinds} has no pod. Give one of: {known}.")
    several = len(before) > 1
    patches: list[list[dict[str, Any]]] = []
    for whole in before:
        injection = _injection(inject, whole, args.namespace, settings)
        prefix = f"{_title(whole)}: " if several else ""
        if injection is None:  # a Namespace, a ConfigMap: there beside what makes pods
            patches.append([])
            continue
        for warning in injection.warnings:
            print(f"{prefix}warning: {warning}", file=sys.stderr)
        if not injection.operations and not injection.warnings:
            print(f"{prefix}not injected: {injection.message}", file=sys.stderr)
        patches.append(_operations(whole, injection.operations))
    after = [patched(whole, patch) for whole, patch in zip(before, patches, strict=True)]
    if args.yaml:
        print("---\n".join(map(_yaml, after)), end="")
    elif args.diff:
        for old, new in zip(before, after, strict=True):
            _show(old, new, f"{args.file} {_title(old)}" if several else str(args.file))
    elif several:
        named = [
            {"object": _title(whole), "patch": patch}
            for whole, patch in zip(before, patches, strict=True)
            if patch
        ]
        print(orjson.dumps(named, option=orjson.OPT_INDENT_2).decode())
    else:
        print(orjson.dumps(patches[0], option=orjson.OPT_INDENT_2).decode())
    return 0


def _injection(inject: Any, whole: dict[str, Any], namespace: str, settings: Any) -> Any:
    """What would be done with an object's pod; None for an object that makes none."""
    path = _TEMPLATES.get(str(whole.get("kind")))
    if path is None:
        return None
    pod: Any = whole
    for part in path:
        pod = pod.get(part) if isinstance(pod, dict) else None
    if path and isinstance(pod, dict):
        pod = {"metadata": {}, **pod}
    named = _metadata(whole).get("namespace")
    return inject(pod, namespace or str(named or "default"), settings)


def _operations(whole: dict[str, Any], operations: Any) -> list[dict[str, Any]]:
    """A pod's operations, as those of the object that makes it."""
    path = _TEMPLATES[str(whole["kind"])]
    prefix = "".join(f"/{part}" for part in path)
    moved = [{**each, "path": prefix + each["path"]} for each in operations]
    if path and moved and "metadata" not in _at(whole, path):
        moved.insert(0, {"op": "add", "path": f"{prefix}/metadata", "value": {}})
    return moved


def run_serve(args: argparse.Namespace) -> int:
    _machinery(None)
    from sidecar.inject.service import Options, serve  # noqa: PLC0415

    return serve(Options.of(args))


def _machinery(file: Path | None) -> Any:
    """What injects; these come with an extra, because a sidecar itself does not need them."""
    try:
        import jsonpatch  # noqa: F401, PLC0415

        from sidecar.inject import patch  # noqa: PLC0415
        from sidecar.inject.settings import Settings, load  # noqa: PLC0415
    except ImportError as exc:
        raise SidecarError(
            f"{exc.name} is missing. Install it with: pip install 'pointsman[inject]'"
        ) from None

    return patch.inject, patch.apply, Settings() if file is None else load(file)


def _objects(file: str) -> list[dict[str, Any]]:
    """Every object of a file: of its documents, and of what ``kubectl get`` lists."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        documents = [each for each in yaml.safe_load_all(text) if each is not None]
    except OSError as exc:
        raise DataError(f"{file}: cannot be read: {exc.strerror}") from None
    except UnicodeDecodeError as exc:
        raise DataError(f"{file}: is not UTF-8 (byte {exc.start})") from None
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        raise DataError(f"{file}:{line}: is not YAML: {exc.problem}") from None
    except yaml.YAMLError as exc:
        raise DataError(f"{file}: is not YAML: {exc}") from None
    found: list[Any] = []
    for each in documents:
        listed = each.get("items") if isinstance(each, dict) and each.get("kind") == "List" else 0
        found += listed if isinstance(listed, list) else [each]
    if not found:
        raise DataError(f"{file}: there is no object in it.")
    if not all(isinstance(each, dict) for each in found):
        raise DataError(f"{file}: has something that is not an object.")
    return found


def _metadata(whole: dict[str, Any]) -> dict[str, Any]:
    metadata = whole.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _title(whole: dict[str, Any]) -> str:
    name = _metadata(whole).get("name") or _metadata(whole).get("generateName") or "?"
    return f"{whole.get('kind')}/{name}"


def _at(whole: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        whole = whole[part]
    return whole


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def _show(before: Any, after: Any, name: str) -> None:
    old, new = (_yaml(each).splitlines() for each in (before, after))
    colours = {"+": "\x1b[32m", "-": "\x1b[31m", "@": "\x1b[36m"} if sys.stdout.isatty() else {}
    for line in difflib.unified_diff(old, new, name, f"{name} (injected)", n=2, lineterm=""):
        colour = colours.get(line[:1])
        print(f"{colour}{line}\x1b[0m" if colour else line)
