"""Rivals, run by the harness that runs us: one manifest each under ``manifests/``.

A manifest says what a rival is, how it is installed (into a folder of its own under
``.work/rivals``, never into the project's environment), how it is started, and what
of it is measured. One that cannot run on this machine is recorded with the reason.

    python -m bench.rivals [--rounds N] [--only NAME ...] [--no-install]
"""
