"""The one place that wires everything, and the life of a process.

Start: load the encoder's files and the configuration, choose the classifier,
listen, warm up, be ready. Stop on SIGTERM or SIGINT: be not ready, accept
nothing new, let requests in flight finish for up to ``drain_s``, exit 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sidecar import classify, large_pages
from sidecar.classify.base import Classifier
from sidecar.config import loader
from sidecar.config.schema import DecisionLog
from sidecar.config.snapshot import Snapshot
from sidecar.control.admin import AdminRunner, admin_app, probes_app
from sidecar.encoder.abilities import Catalogue
from sidecar.encoder.bundle import Bundle
from sidecar.errors import SidecarError
from sidecar.features import features_of
from sidecar.ingress import Ingress
from sidecar.listen.listener import UNIX, Listener
from sidecar.observe import logs
from sidecar.observe.decision_log import FileSink
from sidecar.observe.tracing import Tracer
from sidecar.offline.rows import Row, read_rows
from sidecar.reload import sources
from sidecar.reload.fleet import Fleet, command_line, follow
from sidecar.reload.price_watch import PriceWatch
from sidecar.runtime import Mode, Runtime
from sidecar.state.budgets import open_ledger
from sidecar.state.learning import Learning
from sidecar.state.precompute import precompute
from sidecar.telemetry import Telemetry
from sidecar.types import Prompt
from sidecar.upstream.aiohttp_client import AiohttpUpstreams
from sidecar.upstream.base import Upstreams
from sidecar.upstream.lean import LeanUpstreams

log = logging.getLogger("sidecar.app")

# The worker thread needs the interpreter for a moment before and after each run
# of the encoder; at the default of 5 ms a busy event loop would make it wait
# most of the decision's deadline for that.
_SWITCH_INTERVAL_S = 0.0005
_GRACE_S = 5.0  # beyond the drain, for a worker to close what it has open
_FILES = 65_536  # open files that are room enough


_CLIENTS: Final[Mapping[str, Callable[[], Upstreams]]] = MappingProxyType(
    {"lean": LeanUpstreams, "aiohttp": AiohttpUpstreams}
)


class LogError(SidecarError):
    """A decision log that cannot be written."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a process needs from disk, read and checked."""

    bundle: Bundle
    catalogue: Catalogue
    snapshot: Snapshot


def load(config_file: Path) -> Loaded:
    """The encoder's files and the configuration; raises with all that is wrong."""
    bundle = Bundle.load()
    catalogue = Catalogue.of(bundle)
    return Loaded(bundle, catalogue, loader.load(config_file, catalogue))


class App:
    """A sidecar, started and stopped inside a running event loop."""

    def __init__(self, runtime: Runtime, why: str) -> None:
        self.runtime = runtime
        self.why = why
        self._public: Listener | None = None
        self._admin: AdminRunner | None = None
        self._probes: AdminRunner | None = None
        self._fleet: Fleet | None = None
        self._beside: list[asyncio.Task[None]] = []  # work beside the requests
        self.listen = ""
        self.admin = ""
        self.probes = ""

    @classmethod
    async def start(
        cls,
        config_file: Path,
        *,
        listen: str | None = None,
        admin: str | None = None,
        probes: str | None = None,
        classifier: Classifier | None = None,
        workers: int = 1,
        follower: int | None = None,
        loaded: Loaded | None = None,
    ) -> App:
        """Wire, listen and be ready. A port of 0 takes a free one.

        ``loaded`` is ``config_file`` and the encoder where they were read before;
        ``classifier`` replaces the configured one, for drills and tests. With
        ``workers`` the others are started too; ``follower`` is the number of one
        of those, which has no admin port.
        """
        loaded = loaded or load(config_file)
        snapshot = loaded.snapshot
        telemetry = Telemetry()
        if classifier is None:
            chosen = await classify.build(
                snapshot.config.classifier, loaded.bundle, telemetry.registry
            )
        else:
            chosen = classify.Chosen(classifier, f"{classifier.name} (given)")
        runtime = Runtime(
            snapshot=snapshot,
            config_file=config_file,
            classifier=chosen.classifier,
            abilities=loaded.catalogue,
            upstreams=_CLIENTS[snapshot.config.upstream_client](),
            telemetry=telemetry,
        )
        sources.register(runtime)
        runtime.learning = Learning(
            snapshot,
            runtime.telemetry.registry,
            runtime.adopt,
            config_file.parent,
            leads=follower is None,
        )
        runtime.learning.started()
        app = cls(runtime, chosen.why)
        try:
            runtime.decisions = _decision_log(snapshot.config.decision_log, follower)
            if snapshot.config.tracing is not None:
                runtime.tracer = Tracer(snapshot.config.tracing)
            runtime.budgets = open_ledger(
                snapshot, telemetry.registry, config_file.parent,
                lambda: runtime.snapshot.config.budgets,
            )  # fmt: skip
            if runtime.budgets is not None:
                await runtime.budgets.start()
            shared = workers > 1 or follower is not None
            await app._listen(listen or snapshot.config.listen, shared=shared)
            if follower is None:
                command = command_line(["--config", str(config_file), "--listen", app.listen])
                app._fleet = Fleet(runtime, command, workers - 1)
                await app._listen_admin(admin or snapshot.config.admin, app._fleet)
                await app._listen_probes(probes or snapshot.config.probes, app._fleet)
            app._go_on(PriceWatch(runtime).run())
            await app._warm_up()
            if app._fleet is not None:
                await app._fleet.start()
                app._go_on(runtime.learning.run(app._fleet.tell))
        except BaseException:
            await app.stop()
            raise
        runtime.mode = Mode.READY
        app._go_on(app._read_common())
        return app

    async def _listen(self, listen: str, *, shared: bool) -> None:
        self._public = Listener(Ingress(self.runtime))
        await self._public.listen(listen, shared=shared)
        self.listen = self._public.address

    async def _listen_admin(self, admin: str, fleet: Fleet) -> None:
        application = admin_app(self.runtime, fleet, self.listen)
        self._admin = AdminRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._admin.setup()
        self.admin = await self._admin.listen(admin)

    async def _listen_probes(self, probes: str | None, fleet: Fleet) -> None:
        if probes is None:
            return
        application = probes_app(self.runtime, fleet)
        self._probes = AdminRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._probes.setup()
        self.probes = await self._probes.listen(probes)

    async def _warm_up(self) -> None:
        """Do what the first requests would wait for; being slow here costs nobody."""
        for spec in self.runtime.snapshot.upstreams():
            self.runtime.upstreams.prepare(spec)
        for words in (1, 40, 400):
            with contextlib.suppress(Exception):  # requests fail open, and so does starting
                text = "Warm up. " * words
                await self.runtime.classifier.classify(features_of(Prompt(user=text)))

    def _go_on(self, work: Coroutine[None, None, None]) -> None:
        """Do ``work`` beside the requests until the process stops."""
        self._beside.append(asyncio.create_task(work))

    async def _read_common(self) -> None:
        """Fill the decision cache from its file, while requests are served already."""
        runtime = self.runtime
        common = runtime.snapshot.config.decision_cache.common
        if common is None:
            return
        file = runtime.config_file.parent / common
        try:
            rows = await asyncio.to_thread(lambda: list(read_rows(file)))
            prompts = [row.prompt for row in rows if isinstance(row, Row)]
            window = runtime.windows.of
            kept = await precompute(runtime.readings, runtime.classifier, prompts, window)
        except SidecarError as exc:  # it was there when the configuration was checked
            log.warning("decision_cache.common: %s", exc)
            return
        bad = len(rows) - len(prompts)
        log.info("decision_cache.common: %d prompts read, %d bad rows passed over", kept, bad)

    def hurry(self) -> None:
        """Let :meth:`stop` wait no longer for the requests in flight, here or at other workers."""
        if self._public is not None:
            self._public.hurry()
        if self._fleet is not None:
            self._fleet.hurry()

    async def stop(self) -> None:
        """Drain and close. The admin port answers, not ready, until the last request is done."""
        self.runtime.mode = Mode.DRAINING
        drain = self.runtime.snapshot.config.drain_s
        others = self._fleet.stop(drain + _GRACE_S) if self._fleet else asyncio.sleep(0)
        own = self._public.close(drain) if self._public else asyncio.sleep(0)
        await asyncio.gather(others, own)
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        if self.runtime.learning is not None:
            await self.runtime.learning.save()
        if self.runtime.budgets is not None:
            await self.runtime.budgets.close()
        if self.runtime.decisions is not None:
            await self.runtime.decisions.close()
        if self.runtime.tracer is not None:
            await self.runtime.tracer.close()
        await self.runtime.upstreams.close()
        await self.runtime.classifier.close()
        for operators in (self._admin, self._probes):
            if operators is not None:
                await operators.cleanup()


def _decision_log(settings: DecisionLog | None, follower: int | None) -> FileSink | None:
    """The decision log; each follower has a file of its own, for each rotates its own."""
    if settings is None:
        return None
    own = follower is not None and settings.file != "-"
    name = f"{settings.file}.worker{follower}" if own else settings.file
    try:
        return FileSink(name, int(settings.max_mb * 2**20), settings.keep)
    except OSError as exc:
        raise LogError(f"Cannot write decision_log.file {settings.file}: {exc.strerror}.") from exc


def _allow_files() -> None:
    """Room for connections, as far as the system lets this process have it.

    The soft limit of 1,024 that most systems start a process with is for programs
    that use select(); 400 requests and 1,000 idle connections take 1,800.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):  # then it stays as it was
        import resource  # noqa: PLC0415  # Unix only

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        if 0 <= soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _settle_memory() -> None:
    """Keep the collector off what is there to stay, and from looking too often, and bring
    that into large pages.

    A request frees what it made by counting references; the collector is for the rare cycle,
    and by its defaults it goes through all that was loaded at the start again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    await asyncio.to_thread(large_pages.settle)


async def serve(
    config_file: Path,
    listen: str | None,
    admin: str | None,
    workers: int,
    probes: str | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    _allow_files()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loaded = load(config_file)
    logs.configure(loaded.snapshot.config.log)
    app = await App.start(
        config_file, listen=listen, admin=admin, probes=probes, workers=workers, loaded=loaded
    )
    await _settle_memory()
    for warning in app.runtime.snapshot.warnings:
        log.warning("%s", warning)
    for key, given in (("listen", listen), ("admin", admin)):
        note = loader.unguarded(loaded.snapshot.config, key, given) if given else None
        if note is not None:
            log.warning("--%s %s: %s", key, given, note)
    print(f"classifier: {app.why}", flush=True)
    where = app.listen if app.listen.startswith(UNIX) else f"http://{app.listen}/v1"
    log.info("serving on %s, admin on http://%s", where, app.admin)
    if app.probes:
        log.info("probes and metrics on http://%s", app.probes)
    await stop.wait()
    loop.add_signal_handler(signal.SIGINT, app.hurry)
    drain = app.runtime.snapshot.config.drain_s
    log.info("draining: up to %g s for requests in flight; an interrupt cuts them off", drain)
    await app.stop()


async def serve_as_follower(config_file: Path, listen: str, number: int, fd: int) -> None:
    """Serve as one of several workers, until the leader says so or is gone.

    SIGTERM and SIGINT go to the whole process group: the leader answers for all.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    _allow_files()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, log.debug, "the leader decides")
    loaded = load(config_file)
    logs.configure(loaded.snapshot.config.log)
    app = await App.start(config_file, listen=listen, follower=number, loaded=loaded)
    await _settle_memory()
    await follow(fd, app.runtime)
    loop.add_signal_handler(signal.SIGINT, app.hurry)
    await app.stop()
