# ruff: noqa: E501 - a template is one line
"""Prompts that a program writes: the two ends of everyday difficulty, and its middle.

The scored rows are exam questions, and the open ones carry a tier mostly by their
source; without these, a greeting and a research problem differ for the encoder by
length alone. Templates times fillers, each with a task, a domain and a tier that the
template's writer is sure of. They train and nothing is ever evaluated on them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from distill.common import SEED, domain_index, task_index, tier_index

FILL = {
    "name": "Anna|Omar|Li Wei|Priya|Jonas|Maria|Kofi|Sven|Aiko|Lucas|my boss|my sister|our client",
    "country": "France|Kenya|Japan|Peru|Norway|Canada|Egypt|India|Brazil|Poland|Vietnam|Chile",
    "word": "necessary|rhythm|apple|banana|accommodate|library|bicycle|weather|friend|tomorrow",
    "language": "French|Spanish|German|Italian|Portuguese|Dutch",
    "code": "Python|JavaScript|Rust|Go|C++|Java|TypeScript|Haskell",
    "n": "2|3|5|7|8|9|12|15|20|48|100",
    "m": "2|3|4|6|7|10|11|25",
    "animal": "cat|dog|horse|whale|eagle|frog|bee|tiger",
    "thing": "a chair|the moon|a battery|bread|a mirror|a pencil|rain|a bridge|salt",
    "food": "rice|pasta|an egg|potatoes|pancakes|soup|green tea",
    "topic": "photosynthesis|inflation|the water cycle|machine learning|the French Revolution|"
    "supply and demand|plate tectonics|vaccines|recursion|compound interest|blockchain|"
    "the immune system|object-oriented programming|climate change|cognitive biases",
    "company": "a bakery|a fintech start-up|a hospital|an online bookshop|a law firm|a gym",
    "object": "a finite group of order p^2 q|a compact Riemann surface|a Noetherian local ring|"
    "an elliptic operator on a closed manifold|a martingale with bounded increments|"
    "a self-adjoint unbounded operator|a smooth projective variety|a Dedekind domain|"
    "a uniformly continuous semigroup|a stationary ergodic process|a cubic surface",
    "claim": "has a normal Sylow subgroup|admits at most finitely many automorphisms|"
    "is Cohen-Macaulay if and only if its depth equals its dimension|"
    "has a discrete spectrum accumulating only at infinity|converges almost surely|"
    "can be embedded in projective space|satisfies a maximal inequality with a sharp constant",
    "theorem": "the Banach-Tarski theorem|the Radon-Nikodym theorem|Gödel's second theorem|"
    "the Atiyah-Singer index theorem|quadratic reciprocity|the spectral theorem|Noether's theorem|"
    "the prime number theorem|the Riemann-Roch theorem|the Hahn-Banach theorem",
    "equation": "the Einstein field equations from the Hilbert action|the Black-Scholes equation "
    "without assuming constant volatility|the renormalisation group flow of phi-fourth theory|"
    "the Navier-Stokes equations from the Boltzmann equation|the Kalman filter for correlated noise|"
    "the Hartree-Fock equations by a variational argument|the BCS gap equation",
    "structure": "a lock-free hash map with resizing|a persistent red-black tree|"
    "a concurrent B-link tree|a CRDT for rich text|an LL(*) parser generator|"
    "a register allocator by graph colouring|a Raft implementation with joint consensus|"
    "a garbage collector with incremental marking|a SAT solver with clause learning",
    "proof": "prove its linearizability|prove its correctness and bound its worst case|"
    "analyse its amortised complexity|give invariants strong enough for a mechanised proof|"
    "discuss memory ordering on weakly ordered hardware",
    "system": "a globally distributed payment ledger|a multi-tenant vector database|"
    "a real-time fraud detection pipeline|an exactly-once event bus|a zero-trust build system|"
    "a low-latency exchange matching engine|a federated medical record exchange",
    "constraint": "no single region may be a point of failure|p99 latency stays under 5 ms|"
    "auditors can replay every decision|writes survive a network partition|"
    "personal data can be erased on request|the budget is fixed at three engineers|"
    "clocks may drift by 200 ms",
    "case": "a 54-year-old with relapsing fever, a new murmur, renal failure and low complement|"
    "a neonate with hypotonia, lactic acidosis and seizures resistant to treatment|"
    "a pregnant patient with thrombocytopenia, haemolysis and neurological signs|"
    "a transplant recipient with cavitating lung lesions and eosinophilia",
    "law": "a cross-border merger with conflicting data protection duties|"
    "a contract whose force majeure clause is silent on pandemics|"
    "an insolvency with disputed set-off across three jurisdictions|"
    "a patent whose priority claim may be invalid",
    "greeting": "hi|hello|hey|good morning|good evening|yo|hi there|hello!|hey :)|howdy",
    "mood": "how are you?|what's up?|nice to meet you|are you there?|can you hear me?|how's it going",
}

TEMPLATES: tuple[tuple[str, str, str, str], ...] = (
    ("simple", "chitchat", "general", "{greeting}"),
    ("simple", "chitchat", "general", "{greeting} {mood}"),
    ("simple", "chitchat", "general", "{greeting}, {mood}"),
    ("simple", "chitchat", "general", "thanks, that was helpful"),
    ("simple", "chitchat", "general", "Thank you {name}!"),
    ("simple", "chitchat", "general", "ok|great|cool|bye|see you|never mind|yes please|no thanks"),
    ("simple", "chitchat", "general", "tell me a joke about {animal}s"),
    ("simple", "qa", "humanities", "What is the capital of {country}?"),
    ("simple", "qa", "general", "Which language is spoken in {country}?"),
    ("simple", "qa", "science", "What sound does a {animal} make?"),
    ("simple", "qa", "general", "How do you spell {word}?"),
    ("simple", "qa", "general", "What is {thing} used for?"),
    ("simple", "qa", "general", "How long should I boil {food}?"),
    ("simple", "math", "math", "What is {n} + {m}?"),
    ("simple", "math", "math", "{n} times {m}"),
    ("simple", "math", "math", "Is {n} bigger than {m}?"),
    ("simple", "math", "math", "What is {n} minus {m}?"),
    ("simple", "translation", "general", "How do you say {word} in {language}?"),
    ("simple", "translation", "general", "Translate to {language}: the {animal} is sleeping"),
    ("simple", "rewrite", "general", "Make this polite: send me the report, {name}"),
    ("simple", "rewrite", "general", "Put this in capitals: {word}"),
    ("simple", "classification", "general", "Is this positive or negative? I loved the {food}"),
    ("simple", "classification", "general", "Sentiment of: the {animal} show was awful"),
    ("simple", "extraction", "general", "What is the name in: {name} bought {food} on Monday"),
    ("simple", "creative_writing", "general", "Write one sentence about a {animal}"),
    ("simple", "creative_writing", "general", "Write a haiku about a {animal}"),
    ("simple", "drafting", "general", "Write a short birthday wish for {name}"),
    ("simple", "assistant", "general", "set a timer for {n} minutes"),
    ("simple", "assistant", "general", "remind me to call {name} at {m} pm"),
    ("simple", "assistant", "general", "play some music|turn off the lights|what time is it"),
    ("simple", "code", "computing", "Print hello world in {code}"),
    ("simple", "code", "computing", "How do I comment a line in {code}?"),
    ("simple", "brainstorming", "general", "Name {m} kinds of {animal}"),
    ("simple", "summarization", "general", "Summarize in three words: {name} went home early because of rain."),
    ("moderate", "qa", "general", "Explain {topic} to a beginner, with an example."),
    ("moderate", "qa", "general", "What are the main causes and effects of {topic}?"),
    ("moderate", "drafting", "general", "Write a two-paragraph email to {name} that declines a meeting and offers another date."),
    ("moderate", "drafting", "finance", "Draft a one-page business plan outline for {company}."),
    ("moderate", "code", "computing", "Write a {code} function that returns the n-th Fibonacci number with memoization, and tests for it."),
    ("moderate", "code", "computing", "Write a {code} program that reads a CSV file and prints the mean of every numeric column."),
    ("moderate", "planning", "general", "Plan a four-day trip to {country} for a family with two children."),
    ("moderate", "math", "math", "A shop sells {n} items at {m} dollars each and gives 15% off the total. How much is paid with 8% tax?"),
    ("moderate", "critique", "general", "Compare two textbooks' treatment of {topic}: what are typical strengths and weaknesses?"),
    ("moderate", "creative_writing", "humanities", "Write a 300-word story in which {name} and a {animal} learn about {topic}."),
    ("moderate", "brainstorming", "finance", "Suggest ten ways for {company} to win customers with little money."),
    ("complex", "math", "math", "Prove that {object} {claim}."),
    ("complex", "math", "math", "Let X be {object}. Show that X {claim}, or give a counterexample."),
    ("complex", "math", "math", "State and prove {theorem}, then show which hypotheses can be weakened."),
    ("complex", "math", "math", "Find all functions f from the integers to the integers with f(x+f(y)) = f(x)^{m} + y f(x), with proof."),
    ("complex", "math", "math", "Determine, with proof, every prime p for which p^{m} + {n} is a perfect power."),
    ("complex", "reasoning", "science", "Derive {equation}, stating every approximation and where it fails."),
    ("complex", "code", "computing", "Implement {structure} in {code} and {proof}."),
    ("complex", "code", "computing", "My {code} service deadlocks under load about once a day. Given {structure} at its core, list hypotheses, design experiments that separate them, and write the fix."),
    ("complex", "planning", "computing", "Design {system} where {constraint} and {constraint}. Justify each trade-off and its failure modes."),
    ("complex", "critique", "computing", "Review the architecture of {system}: {constraint}, yet {constraint}. Where will it break first and why?"),
    ("complex", "reasoning", "medical", "Work up {case}: a ranked differential, the discriminating tests, and how each result changes management."),
    ("complex", "reasoning", "legal", "Analyse {law}. Give the strongest argument for each side and predict the ruling with authority."),
    ("complex", "critique", "science", "Critically appraise a non-inferiority trial with informative dropout on {topic}; re-derive its power and propose a better estimand."),
    ("complex", "reasoning", "social_science", "Specify and identify a structural model of {topic} with unobserved heterogeneity; discuss the exclusion restrictions."),
)  # fmt: skip


def prompts(
    count: int = 1500,
    templates: Sequence[tuple[str, str, str, str]] = TEMPLATES,
    fill: Mapping[str, Sequence[str]] | None = None,
    source: str = "synthetic",
) -> list[dict[str, Any]]:
    """``count`` distinct rows in the schema of :mod:`distill.prepare`, all of the train split."""
    rng = random.Random(SEED)
    fillers = fill or {key: value.split("|") for key, value in FILL.items()}
    seen: dict[str, dict[str, Any]] = {}
    for _ in range(count * 20):
        tier, task, domain, template = rng.choice(templates)
        text = rng.choice(template.split("|")) if "{" not in template else template
        while "{" in text:
            start = text.index("{")
            key = text[start + 1 : text.index("}", start)]
            text = text[:start] + rng.choice(fillers[key]) + text[start + len(key) + 2 :]
        if text not in seen:
            seen[text] = {
                "id": f"{source}:{len(seen)}",
                "source": source,
                "split": "train",
                "prompt": text,
                "scores": {},
                "raw_task": task,
                "task": task_index(task),
                "domain": domain_index(domain),
                "domain_weak": False,
                "tier": tier_index(tier),
                "tier_weak": False,
                "bad_label": False,
                "cluster": None,
            }
        if len(seen) >= count:
            break
    return list(seen.values())
