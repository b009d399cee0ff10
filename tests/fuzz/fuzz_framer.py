"""Coverage-guided fuzzing of event streams: the framer, the strip and the taps. Not a test.

    pip install -e '.[fuzz]'
    python -m tests.fuzz.fuzz_framer tests/fuzz/corpus/framer -runs=1000000

The options are libFuzzer's. A breach ends it and leaves the input in a file.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["sidecar"]):
    from tests.fuzz.invariants import check_framer

if __name__ == "__main__":
    atheris.Setup(sys.argv, check_framer)
    atheris.Fuzz()
