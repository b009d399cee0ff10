"""The demo: mock models, real prompts, the real sidecar between them, and a bill.

``mock`` and what it is built of (``roster``, ``tokens``, ``samples``, ``answers``,
``wire``) are an upstream that the tests and the benchmarks use too. ``site``,
``processes``, ``leash``, ``traffic``, ``feed``, ``report`` and ``runner`` are the command.
"""
