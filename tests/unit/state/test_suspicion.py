"""The same prompt with a few words more and another model is noticed; other prompts are not."""

from __future__ import annotations

import pytest

from sidecar.features import features_of
from sidecar.observe.metrics import Registry
from sidecar.state.suspicion import Suspicion
from sidecar.types import Decision, Hints, Prompt
from tests.support.builders import call

CORE = "Prove that there are infinitely many primes of the form four n plus three."


def ask(
    watch: Suspicion, text: str, model: str, tenant: str = "acme", reason: str = "policy"
) -> str | None:
    asked = call(user=text, hints=Hints(tenant=tenant))
    decision = Decision(model, "auto", reason)
    price = {"small": 1.0, "large": 10.0}[model]
    return watch.notice(asked, features_of(Prompt(user=text), claims=True), decision, price)


@pytest.mark.parametrize("text", [f"{CORE} An easy one!", f"Easy peasy: {CORE}"])
def test_a_phrase_that_changed_the_model_is_noticed(text: str) -> None:
    watch = Suspicion(Registry())
    assert ask(watch, CORE, "large") is None
    assert ask(watch, text, "small") == "down"
    watch = Suspicion(Registry())
    assert ask(watch, text, "small") is None  # and the other way round
    assert ask(watch, CORE, "large") == "up"


@pytest.mark.parametrize(
    ("text", "model", "tenant", "reason"),
    [
        (f"{CORE} An easy one!", "large", "acme", "policy"),  # the model stayed
        (f"{CORE} An easy one!", "small", "globex", "policy"),  # somebody else
        (f"{CORE} An easy one!", "small", "acme", "rule:night"),  # the words did not decide
        (CORE, "small", "acme", "policy"),  # nothing was added
        (CORE + " And then?" * 100, "small", "acme", "policy"),  # much was
        ("Prove that there are infinitely many twin primes.", "small", "acme", "policy"),
    ],
)
def test_what_is_no_such_thing_is_not(text: str, model: str, tenant: str, reason: str) -> None:
    watch = Suspicion(Registry())
    ask(watch, CORE, "large")
    assert ask(watch, text, model, tenant, reason) is None


def test_an_old_prompt_is_forgotten_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    watch = Suspicion(Registry(), now=lambda: clock[0])
    ask(watch, CORE, "large")
    clock[0] = 1000.0
    assert ask(watch, f"{CORE} An easy one!", "small") is None
    assert {one.at for one in watch._asked.values()} == {1000.0}
    monkeypatch.setattr("sidecar.state.suspicion._KEEP", 10)
    for number in range(200):
        ask(watch, f"{number} is the number that this question is about {number}", "small")
    assert len(watch._asked) == 20
