"""LiteLLM's complexity router (rules) as a judge of difficulty, in its own environment."""

import json
import sys
import time
from unittest.mock import MagicMock

from litellm.router_strategy.complexity_router.complexity_router import ComplexityRouter

sys.stdin.readline()  # it learns nothing from examples
router = ComplexityRouter(model_name="auto", litellm_router_instance=MagicMock())
router.classify("warm up")
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    prompt = json.loads(line)["prompt"]
    began = time.perf_counter()
    _, score, *_ = router.classify(prompt)
    ms = (time.perf_counter() - began) * 1e3
    print(json.dumps({"ms": ms, "score": score}), flush=True)
