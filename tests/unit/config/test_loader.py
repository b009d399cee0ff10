"""Every fault of a configuration names its file, its line and its key."""

# ruff: noqa: E501  # a table of faults is read row by row

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sidecar.config.loader import load
from sidecar.config.snapshot import Snapshot
from sidecar.errors import ConfigError
from tests.support.builders import FakeAbilities

# The example of the contract, word for word.
EXAMPLE = """\
listen: 127.0.0.1:8080
admin: 127.0.0.1:9090
classifier:
  backend: auto            # auto | triton | onnx | heuristic
  deadline_ms: 8
  triton: {url: 127.0.0.1:8001, model: router}
upstreams:
  local: {base_url: http://127.0.0.1:9001/v1, api_key_env: LOCAL_KEY, dialect: openai}
models:
  small: {upstream: local, upstream_model: llama-3.1-8b, ability: llama-3.1-8b-instruct,
          price: {input: 0.07, output: 0.07}, context: 8192, capabilities: [tools, json_schema]}
  large: {upstream: local, upstream_model: gpt-4o, ability: gpt-4o-2024-08-06,
          price: {input: 2.5, cached_input: 1.25, output: 10}, context: 128000, capabilities: [tools, json_schema, vision]}
routes:
  auto: {policy: cost_quality, models: [small, large], quality: 0.97, default: large}
"""
SHORT = """\
upstreams:
  local: {base_url: http://127.0.0.1:9001/v1}
models:
  small: {upstream: local, ability: llama-3.1-8b-instruct, price: {input: 1, output: 1}}
  large: {upstream: local, ability: gpt-4o-2024-08-06, price: {input: 2, output: 9}}
routes:
  auto: {models: [small, large], default: large}
"""
KNOWN = dict.fromkeys(
    ("llama-3.1-8b-instruct", "llama-3.1-70b-instruct", "gpt-4o-2024-08-06", "known"), 0.5
)
SECRET = "sk-very-secret"


def read(tmp_path: Path, text: str | bytes, **env: str) -> Snapshot:
    file = tmp_path / "sidecar.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(file, FakeAbilities(KNOWN), env)


def faults(tmp_path: Path, text: str | bytes, **env: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, **env)
    head = f"{tmp_path / 'sidecar.yaml'}:"
    assert all(fault.startswith(head) and "\n" not in fault for fault in caught.value.faults)
    return [fault.removeprefix(head) for fault in caught.value.faults]


def test_the_contracts_example_is_good_as_it_stands(tmp_path: Path) -> None:
    snapshot = read(tmp_path, EXAMPLE, LOCAL_KEY=SECRET)
    assert snapshot.warnings == ()
    large = snapshot.models["large"]
    assert (large.upstream_model, large.context) == ("gpt-4o", 128000)
    assert (large.price.input, large.price.cached_input, large.price.output) == (2.5, 1.25, 10)
    assert large.capabilities == {"tools", "json_schema", "vision"}
    assert snapshot.models["small"].price.cached_input == 0.07  # no discount named, none taken
    assert large.upstream.auth == "bearer"
    route = snapshot.routes["auto"]
    assert (route.policy, route.models, route.default) == (
        "cost_quality",
        ("small", "large"),
        "large",
    )


def swap(old: str, new: str, text: str = SHORT) -> str:
    assert old in text
    return text.replace(old, new, 1)


TRITON = SHORT + "classifier: {triton: "
FAULTS = {
    "unknown key at the top": (SHORT + "limts: {}\n", "8: limts: unknown key; did you mean 'limits'?"),
    "unknown key inside": (swap("ability: gpt", "abilty: gpt"), "5: models.large.abilty: unknown key; did you mean 'ability'?"),
    "a key of another section": (SHORT + "model: {}\n", "8: model: unknown key; did you mean 'models'?"),
    "unknown key, nothing near": (SHORT + "zzz: 1\n", "8: zzz: unknown key"),
    "a key in clear": (swap("}\nmodels", ", api_key: x}\nmodels"), "2: upstreams.local.api_key: unknown key; did you mean 'api_key_"),
    "missing section": ("upstreams:\n  local: {base_url: http://h/v1}\n", "1: models: is required"),
    "missing value": (swap(", price: {input: 1, output: 1}", ""), "4: models.small.price: is required"),
    "wrong type": (swap("input: 1", "input: cheap"), "4: models.small.price.input: "),
    "negative price": (swap("input: 1", "input: -1"), "4: models.small.price.input: "),
    "infinite price": (swap("input: 1", "input: .inf"), "4: models.small.price.input: "),
    "a list for a mapping": ("upstreams: []\nmodels: {}\n", "1: upstreams: "),
    "no models": (swap("models:\n", "models: {}\nx:\n"), "3: models: "),
    "url without scheme": (swap("http://127", "127"), "2: upstreams.local.base_url: "),
    "url with a key": (swap("http://127", "http://user:sk-1@127"), "2: upstreams.local.base_url: "),
    "url with a query": (swap("http://127.0.0.1:9001/v1", "'http://h/v1?key=1'"), "2: upstreams.local.base_url: "),
    "bad listen": (SHORT + "listen: 8080\n", "8: listen: must be a string: put it in quotes"),
    "a port and no host": (SHORT + "listen: ':8080'\n", "8: listen: name the host too"),
    "listen with a scheme": (SHORT + "listen: http://h:1\n", "8: listen: write host:port without a scheme"),
    "an IPv6 address without brackets": (SHORT + "listen: '::1:8080'\n", "8: listen: an IPv6 address stands in brackets"),
    "brackets around no IPv6 address": (SHORT + "listen: '[x]:8080'\n", "8: listen: what stands in the brackets is no IPv6"),
    "a socket's path that is too long": (SHORT + f"listen: unix:/{'x' * 107}\n", "8: listen: a socket's path begins with /"),
    "one address for apps and operators": (SHORT + "admin: 127.0.0.1:8080\n", "8: admin: the same address as listen"),
    "Triton with a scheme": (TRITON + "{url: http://h:8000}}\n", "8: classifier.triton.url: write the server's host:port without a scheme"),
    "Triton at port 0": (TRITON + "{url: 'h:0'}}\n", "8: classifier.triton.url: nobody can be asked at port 0"),
    "a key for the name of its variable": (swap("9001/v1}", "9001/v1, api_key_env: $KEY}"), "2: upstreams.local.api_key_env: write the name of an environment variable"),
    "a port that is no number": (swap("9001", "http"), "2: upstreams.local.base_url: the host or the port"),
    "a port too many": (swap("9001", "99001"), "2: upstreams.local.base_url: the host or the port"),
    "an address half in brackets": (swap("http://127.0.0.1:9001/v1", "'http://[::1/v1'"), "2: upstreams.local.base_url: the host or the port"),
    "a path that is not ASCII": (swap("9001/v1", "9001/vé"), "2: upstreams.local.base_url: write what is not ASCII"),
    "a number with a unit": (SHORT + "limits: {max_body_mb: 64MB}\n", "8: limits.max_body_mb: must be a number, without a unit"),
    "one for a list": (swap("[small, large]", "small"), "7: routes.auto.models: must be a list, as in [one, another]"),
    "one for a mapping": (SHORT + "decision_log: log.jsonl\n", "8: decision_log: must be a mapping"),
    "an infinity for JSON": (swap("output: 1}", "output: 1}, overrides: {set: {x: .inf}}"), "4: models.small.overrides.set: one of these values"),
    "no such file of prices": (SHORT + "prices: {file: none.yaml}\n", "8: prices.file: no file none.yaml"),
    "a byte that YAML has not": (SHORT + "x: \x00\n", "8: not valid YAML: special characters"),
    "port out of range": (SHORT + "listen: 127.0.0.1:99999\n", "8: listen: "),
    "a share that is more than the whole": (SHORT + "classifier: {deadline_ms: 8, triton: {deadline_ms: 9}}\n", "8: classifier: triton.deadline_ms is a part of deadline_ms"),
    "unknown policy": (swap("{models: [", "{policy: magic, models: ["), "7: routes.auto.policy: "),
    "quality over one": (swap("default: large", "default: large, quality: 97"), "7: routes.auto.quality: "),
    "no models in a route": (swap("[small, large]", "[]"), "7: routes.auto.models: "),
    "a model twice in a route": (swap("[small, large]", "[small, small]"), "7: routes.auto.models: a model is named twice"),
    "a route to an unknown model": (swap("[small, large]", "[smal, large]"), "7: routes.auto.models.0: no model is called 'smal'; did you mean 'small'?"),
    "an unknown default": (swap("default: large", "default: huge"), "7: routes.auto.default: no model is called 'huge'"),
    "an unknown upstream": (swap("upstream: local", "upstream: locl"), "4: models.small.upstream: no upstream is called 'locl'; did you mean 'local'?"),
    "an unknown ability": (swap("llama-3.1-8b-instruct", "llama-9"), "4: models.small.ability: the catalogue has no model 'llama-9'; near it: "),
    "an unknown capability": (swap("output: 1}", "output: 1}, capabilities: [visoin]"), "4: models.small.capabilities: 'visoin' is unknown; use tools, "),
    "a route named as a model": (SHORT + "  small: {models: [large], default: large}\n", "8: routes.small: a model has this name too"),
    "two sources of a key": (swap("9001/v1}", "9001/v1, api_key_env: A, api_key_file: b}"), "2: upstreams.local: give api_key_env or api_key_file, not both"),
    "a key that is never sent": (swap("9001/v1}", "9001/v1, api_key_env: A, auth: none}"), "2: upstreams.local: auth: none sends no key"),
    "no such certificate": (swap("9001/v1}", "9001/v1, ca_file: /nowhere/ca.pem}"), "2: upstreams.local.ca_file: no file /nowhere/ca.pem"),
    "a name of odd characters": (swap("  small: {", "  'sm all': {"), "4: models.sm all"),
    "a key given twice": (SHORT + "models: {}\n", "8: models: given twice"),
    "an inner key given twice": (swap("input: 1,", "input: 1, input: 2,"), "4: models.small.price.input: given twice"),
    "not YAML": (SHORT + "  : : [\n", "8: not valid YAML: "),
    "a tab": ("upstreams:\n\tlocal: 1\n", "2: not valid YAML: "),
    "a list as the whole": ("- 1\n", "1: (whole file): must be a mapping"),
    "an empty file": ("", "1: (whole file): must be a mapping"),
    "an unknown alias": ("upstreams: *nobody\n", "1: not valid YAML: "),
    "a python object": ("upstreams: !!python/object:os.system {}\n", "1: not valid YAML: "),
    "an alias to itself": ("upstreams: &a {local: *a}\nmodels: {}\n", "1: upstreams"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_names_its_file_its_line_and_its_key(tmp_path: Path, name: str) -> None:
    text, expected = FAULTS[name]
    found = faults(tmp_path, text)
    assert any(fault.startswith(expected) for fault in found), found


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_and_no_pattern_of_a_program(tmp_path: Path, name: str) -> None:
    for fault in faults(tmp_path, FAULTS[name][0]):
        assert "\n" not in fault
        assert not re.search(r"\^\[|pattern \'|instance of|[Ii]nput should|dictionary|tuple", fault)


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ("listen: 0.0.0.0:8080\n", ["8: listen: others than this machine reach it"]),
        ("listen: '[::]:8080'\n", ["8: listen: others than this machine reach it"]),
        (
            "listen: 10.0.0.1:8080\nadmin: 10.0.0.1:9090\n",
            ["without listen_token_env they spend", "without admin_token_env they control"],
        ),
        ("listen: 0.0.0.0:8080\nlisten_token_env: TOKEN\n", []),
        ("listen: 127.0.0.1:1\nadmin: '[::1]:2'\nprobes: 0.0.0.0:3\n", []),
        ("listen: unix:/run/a.sock\nadmin: localhost:2\n", []),
    ],
)
def test_a_port_that_others_reach_without_a_token_is_warned_of(
    tmp_path: Path, added: str, told: list[str]
) -> None:
    warnings = read(tmp_path, SHORT + added, TOKEN="x").warnings
    assert len(warnings) == len(told)
    for warning, said in zip(warnings, told, strict=True):
        assert said in warning


def test_an_address_without_a_path_is_warned_of(tmp_path: Path) -> None:
    (warning,) = read(tmp_path, swap("9001/v1", "9001/")).warnings
    said = "upstreams.local.base_url: has no path, so http://127.0.0.1:9001/chat/completions is"
    assert said in warning
    anthropic = swap("9001/v1}", "9001, dialect: anthropic}")
    (warning,) = read(tmp_path, anthropic).warnings
    assert "http://127.0.0.1:9001/messages is what is asked" in warning


def test_an_address_with_the_path_that_is_added_to_it_is_warned_of(tmp_path: Path) -> None:
    whole = swap("9001/v1", "9001/v1/chat/completions")
    (warning,) = read(tmp_path, whole).warnings
    assert (
        "upstreams.local.base_url: ends with /chat/completions, which the sidecar adds" in warning
    )


RULE_FAULTS = {
    "when: {}": "9: routes.auto.rules.0.when: a rule needs at least one condition",
    "when: {task: coding}": "9: routes.auto.rules.0.when.task: 'coding' is unknown; use qa, ",
    "when: {domain: [law]}": "9: routes.auto.rules.0.when.domain: 'law' is unknown",
    "when: {tier: hard}": "9: routes.auto.rules.0.when.tier: 'hard' is unknown",
    "when: {needs: tool}": "9: routes.auto.rules.0.when.needs: 'tool' is unknown",
    "when: {keyword: x}": "9: routes.auto.rules.0.when.keyword: unknown key; did you mean 'keywords'?",
    "when: {keywords: ['']}": "9: routes.auto.rules.0.when.keywords.0: ",
    "when: {regex: '(a+'}": "9: routes.auto.rules.0.when.regex.0: not a pattern of RE2",
    "when: {regex: '(?=x)y'}": "9: routes.auto.rules.0.when.regex.0: not a pattern of RE2, which has no back-references and no look-around",
    "when: {regex: ['x', '(a)\\1']}": "9: routes.auto.rules.0.when.regex.1: not a pattern of RE2",
    "when: {regex: '(a?){200}a{200}b'}": "9: routes.auto.rules.0.when.regex.0: too costly: it compiles to",
    "when: {regex: '((a{100}){100}){100}'}": "9: routes.auto.rules.0.when.regex.0: not a pattern of RE2",
    "when: {headers: {Authorization: x}}": "9: routes.auto.rules.0.when.headers: a rule may not look at Authorization",
    "when: {headers: {'a b': x}}": "9: routes.auto.rules.0.when.headers.a b",
    "when: {time: {zone: Mars/Base}}": "9: routes.auto.rules.0.when.time.zone: no time zone is called 'Mars/Base'",
    "when: {time: {start: '25:00'}}": "9: routes.auto.rules.0.when.time.start: write a time of the day",
    "when: {time: {start: '9:00'}}": "9: routes.auto.rules.0.when.time.start: write a time of the day",
    "when: {time: {start: 9:00}}": "9: routes.auto.rules.0.when.time.start: must be a string: put it in quotes",
    "when: {time: {days: [sunday]}}": "9: routes.auto.rules.0.when.time.days.0: ",
    "when: {min_tokens: -1}": "9: routes.auto.rules.0.when.min_tokens: ",
}


@pytest.mark.parametrize("when", RULE_FAULTS)
def test_a_fault_in_a_rule_is_found_where_it_stands(tmp_path: Path, when: str) -> None:
    text = swap(
        "default: large}",
        "default: large,\n    rules: [\n      {name: r, model: small, " + when + "}]}",
    )
    found = faults(tmp_path, text)
    assert any(fault.startswith(RULE_FAULTS[when]) for fault in found), found


def test_rules_of_one_name_and_to_an_unknown_model_are_faults(tmp_path: Path) -> None:
    rules = (
        "default: large,\n    rules: [\n      {name: r, model: small, when: {tenant: a}},"
        "\n      {name: r, model: nobody, when: {tenant: b}}]}"
    )
    assert faults(tmp_path, swap("default: large}", rules)) == [
        "10: routes.auto.rules.1.model: no model is called 'nobody'",
        "10: routes.auto.rules.1.name: a rule before it is called 'r'",
    ]


def test_all_faults_are_found_in_one_go_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = swap("input: 1", "input: x", swap("default: large", "default: 3", SHORT + "zz: 1\n"))
    lines = [int(fault.split(":")[0]) for fault in faults(tmp_path, text)]
    assert lines == [4, 7, 8]
    names = swap("upstream: local", "upstream: l", swap("default: large", "default: nobody"))
    assert [int(fault.split(":")[0]) for fault in faults(tmp_path, names)] == [4, 7]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    with pytest.raises(ConfigError, match="cannot be read: No such file") as caught:
        load(missing, FakeAbilities(KNOWN), {})
    assert str(missing) in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, FakeAbilities(KNOWN), {})
    (tmp_path / "latin.yaml").write_bytes(b"listen: \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin.yaml", FakeAbilities(KNOWN), {})


def test_anchors_and_merges_work_and_their_faults_have_lines(tmp_path: Path) -> None:
    text = """\
upstreams:
  local: {base_url: http://h/v1}
models:
  small: &base
    upstream: local
    ability: known
    price: {input: 1, output: 1}
  large:
    <<: *base
    upstream_model: big
"""
    snapshot = read(tmp_path, text)
    assert snapshot.models["large"].upstream_model == "big"
    assert snapshot.models["large"].price.output == 1
    assert faults(tmp_path, text + "    colour: red\n")[0].startswith("11: models.large.colour: ")


def test_a_missing_key_variable_is_a_warning_that_names_it(tmp_path: Path) -> None:
    for env in ({}, {"LOCAL_KEY": "  "}):
        snapshot = read(tmp_path, EXAMPLE, **env)
        (warning,) = snapshot.warnings
        assert warning.startswith(f"{tmp_path / 'sidecar.yaml'}:8: upstreams.local.api_key_env: ")
        assert "LOCAL_KEY is not set" in warning
        assert snapshot.models["small"].upstream.key is None


def test_a_key_file_is_read_and_a_missing_one_is_named(tmp_path: Path) -> None:
    key = tmp_path / "key"
    text = swap("9001/v1}", f"9001/v1, api_key_file: {key}}}")
    assert f"the file {key} cannot be read" in read(tmp_path, text).warnings[0]
    key.write_text(f"{SECRET}\n")
    found = read(tmp_path, text).models["small"].upstream.key
    assert found is not None
    assert found.reveal() == SECRET


@pytest.mark.parametrize("value", ["sk\u00e9", "a\nb", "a\x00b"])
def test_a_key_that_no_header_may_carry_is_a_fault_that_does_not_show_it(
    tmp_path: Path, value: str
) -> None:
    (fault,) = faults(tmp_path, EXAMPLE, LOCAL_KEY=f"{SECRET}{value}x")
    assert fault.startswith("8: upstreams.local.api_key_env: the key has characters")
    assert SECRET not in fault


def test_a_secret_does_not_show(tmp_path: Path) -> None:
    snapshot = read(tmp_path, EXAMPLE, LOCAL_KEY=SECRET)
    upstream = snapshot.models["small"].upstream
    assert upstream.key is not None
    assert upstream.key.reveal() == SECRET
    for said in (
        repr(snapshot), str(snapshot), repr(upstream), f"{upstream.key}", str(upstream.key),
        f"{upstream.key!r:>20}", str([upstream.key]), str({1: upstream.key}),
    ):  # fmt: skip
        assert SECRET not in said


def test_a_secret_written_into_the_file_is_not_quoted_back(tmp_path: Path) -> None:
    for text in (
        swap("9001/v1}", f"9001/v1, api_key: {SECRET}}}"),
        swap("9001/v1}", f"9001/v1, api_key_env: '{SECRET}'}}"),
        swap("9001/v1}", f"9001/v1, auth: {SECRET}}}"),
    ):
        assert SECRET not in "".join(faults(tmp_path, text))


def test_an_ability_is_guessed_from_the_name_or_warned_of(tmp_path: Path) -> None:
    text = swap(", ability: llama-3.1-8b-instruct", ", upstream_model: known")
    assert read(tmp_path, text).models["small"].ability == "known"
    assert read(tmp_path, text).warnings == ()
    unknown = read(tmp_path, swap(", ability: gpt-4o-2024-08-06", ""))
    assert unknown.models["large"].ability == "gpt-4o-2024-08-06"  # of its price class
    assert ":5: models.large: has no `ability`" in unknown.warnings[0]
    fixed = swap(
        "{models: [", "{policy: fixed, models: [", swap(", ability: gpt-4o-2024-08-06", "")
    )
    assert read(tmp_path, fixed).warnings == ()


def test_auth_follows_the_dialect_unless_said(tmp_path: Path) -> None:
    claude = swap("9001/v1}", "9001/v1/, dialect: anthropic}")
    upstream = read(tmp_path, claude).models["small"].upstream
    assert (upstream.auth, upstream.family) == ("x-api-key", "anthropic")
    assert upstream.base_url == "http://127.0.0.1:9001/v1"
    passing = swap("9001/v1}", "9001/v1, auth: passthrough}")
    assert read(tmp_path, passing).models["small"].upstream.auth == "passthrough"


def test_the_snapshot_cannot_be_changed(tmp_path: Path) -> None:
    snapshot = read(tmp_path, SHORT)
    with pytest.raises(TypeError):
        snapshot.models["x"] = snapshot.models["small"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        snapshot.generation = 2  # type: ignore[misc]


def test_the_digest_follows_the_file(tmp_path: Path) -> None:
    one, two = read(tmp_path, SHORT), read(tmp_path, SHORT + "# a note\n")
    assert one.digest == read(tmp_path, SHORT).digest
    assert one.digest != two.digest
    assert len(one.digest) == 12


def test_what_an_answer_is_worth_stands_in_the_place_of_quality(tmp_path: Path) -> None:
    worth = "{models: [small, large], default: large, worth_usd: 0.02"
    plain = "{models: [small, large], default: large"
    snapshot = read(tmp_path, SHORT.replace(plain, worth))
    assert snapshot.routes["auto"].worth_usd == 0.02
    both = faults(tmp_path, SHORT.replace(plain, worth + ", quality: 0.9"))
    assert both == ["7: routes.auto: says both `quality` and `worth_usd`: keep one of the two"]
    deaf = faults(tmp_path, SHORT.replace(plain, worth + ", policy: threshold"))
    assert deaf == ["7: routes.auto: the policy `threshold` does not look at `worth_usd`"]
    none = faults(tmp_path, SHORT.replace(plain, worth.replace("0.02", "0")))
    assert none == ["7: routes.auto.worth_usd: must be greater than 0"]
