"""Our encoder as a judge of difficulty: features, tokens, one run, one thread."""

import json
import sys
import time

from sidecar.features import features_of
from sidecar.offline.session import Session
from sidecar.types import Prompt

sys.stdin.readline()  # it is trained already
session = Session()
session.read(["warm up"])
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    began = time.perf_counter()
    reading = session.read([features_of(Prompt(user=asked["prompt"])).window])[0]
    ms = (time.perf_counter() - began) * 1e3
    said = {"score": reading.difficulty}
    if asked.get("pair"):  # two models are known: their difference ranks
        names = [session.catalogue.resolve(name) or name for name in asked["pair"]]
        weak, strong = session.catalogue.probabilities(reading, names)
        # what the strong one gains ranks calls; who is right is another question
        said = {"score": strong - weak, "wrong": 1 - weak}
    print(json.dumps({"ms": ms, **said}), flush=True)
