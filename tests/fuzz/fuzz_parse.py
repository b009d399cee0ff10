"""Coverage-guided fuzzing of request bodies through every dialect. Not a test.

    pip install -e '.[fuzz]'
    python -m tests.fuzz.fuzz_parse tests/fuzz/corpus/parse -runs=1000000

The options are libFuzzer's. A breach ends it and leaves the input in a file.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["sidecar"]):
    from tests.fuzz.invariants import check_parse

if __name__ == "__main__":
    atheris.Setup(sys.argv, check_parse)
    atheris.Fuzz()
