"""The life of the webhook's process.

Start: read the settings, have a certificate, listen, be ready. On SIGTERM: be
not ready, but go on answering for ``linger_s``, because whoever sends reviews
here hears of it a moment later; then accept nothing new, finish, exit 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from sidecar.errors import SidecarError
from sidecar.inject.cluster import Cluster
from sidecar.inject.keeper import Keeper
from sidecar.inject.server import Runner, Webhook
from sidecar.inject.settings import Settings, load
from sidecar.inject.tls import CertificateError, ServingCertificate

log = logging.getLogger("sidecar.inject")

_LOOK_S: Final = 5.0  # at the certificate's files
_ASLEEP_S: Final = 0.2  # while there are none yet


class ListenError(SidecarError):
    """An address that cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Options:
    """What ``sidecar inject serve`` was told."""

    settings: Path | None
    listen: str
    probes: str
    tls_dir: Path
    namespace: str
    linger_s: float
    self_signed: bool
    secret: str
    webhook: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, args: argparse.Namespace) -> Options:
        """From the command line; :class:`SidecarError` if what belongs together is not given."""
        missing = [
            option
            for option, given in (
                ("--secret", args.secret),
                ("--webhook", args.webhook),
                ("--dns", args.dns),
                ("--namespace", args.namespace),
            )
            if args.self_signed and not given
        ]
        if missing:
            raise SidecarError(f"--self-signed needs {' and '.join(missing)}.")
        return cls(
            settings=args.settings,
            listen=args.listen,
            probes=args.probes,
            tls_dir=args.tls_dir,
            namespace=args.namespace,
            linger_s=args.linger_s,
            self_signed=args.self_signed,
            secret=args.secret or "",
            webhook=args.webhook or "",
            names=tuple(args.dns),
        )


def serve(options: Options) -> int:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    settings = Settings() if options.settings is None else load(options.settings)
    # asyncio's own loop: uvloop's fails to close while TLS connections say goodbye
    asyncio.run(_serve(options, settings))
    return 0


async def _serve(options: Options, settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    certificate = ServingCertificate(options.tls_dir)
    webhook = Webhook(settings, certificate, options.namespace)
    async with contextlib.AsyncExitStack() as stack:
        probes = await stack.enter_async_context(_listening(webhook, options.probes, None))
        tasks = stack.push_async_callback
        if options.self_signed:
            webhook.trusted = False
            cluster = await stack.enter_async_context(Cluster())
            keeper = Keeper(
                cluster, options.namespace, options.secret, options.webhook, options.names,
                options.tls_dir,
            )  # fmt: skip

            def kept() -> None:
                webhook.trusted = True

            tasks(_ended, asyncio.create_task(keeper.run(kept)))
        else:
            certificate.refresh()  # where someone else makes it, it is there or it is a fault
        tasks(_ended, asyncio.create_task(_follow(certificate)))
        listening = _listening(webhook, options.listen, certificate.context)
        at = await stack.enter_async_context(listening)
        log.info("serving on https://%s, probes and metrics on http://%s", at, probes)
        await stop.wait()
        webhook.draining = True
        log.info("not ready, and answering for %g s more", options.linger_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), options.linger_s)


async def _follow(certificate: ServingCertificate) -> None:
    """Take the certificate's files whenever they change."""
    complained = ""
    while True:
        try:
            if certificate.refresh():
                complained = ""
        except CertificateError as exc:
            if certificate.loaded and str(exc) != complained:  # before the first, it is early
                complained = str(exc)
                log.warning("%s The old certificate is still in use.", exc)
        await asyncio.sleep(_LOOK_S if certificate.loaded else _ASLEEP_S)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.asynccontextmanager
async def _listening(
    webhook: Webhook, address: str, context: ssl.SSLContext | None
) -> AsyncIterator[str]:
    """One of the two applications, over TLS or not; yields its address."""
    app = webhook.probing() if context is None else webhook.reviewing()
    runner = Runner(app, webhook.refused)
    await runner.setup()
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        site = web.TCPSite(runner, host, int(port), backlog=1024, ssl_context=context)
        await site.start()
    except (OSError, ValueError) as exc:
        await runner.cleanup()
        reason = getattr(exc, "strerror", None) or "not HOST:PORT"
        raise ListenError(f"Cannot listen on {address}: {reason}.") from None
    shown = f"[{host}]" if ":" in host else host
    try:
        yield f"{shown}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
