"""The mock's token rule, by hand."""

from __future__ import annotations

from sidecar.demo import tokens


def _body(*texts: str) -> dict:
    return {"messages": [{"role": "user", "content": text} for text in texts]}


def test_a_text_is_a_token_for_every_four_bytes_rounded_up() -> None:
    assert [tokens.count(t) for t in ("", "a", "abcd", "abcde", "été")] == [0, 1, 1, 2, 2]


def test_a_message_costs_four_and_the_answer_three() -> None:
    assert tokens.prompt_tokens(_body("abcd", "abcdefgh")) == 3 + (4 + 1) + (4 + 2)


def test_a_picture_costs_the_same_whatever_its_size() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9000}}
    body = {"messages": [{"role": "user", "content": [picture, {"type": "text", "text": "abcd"}]}]}
    assert tokens.prompt_tokens(body) == 3 + 4 + 85 + 1


def test_a_repeated_long_prefix_is_cached_and_a_short_one_is_not() -> None:
    cache = tokens.PrefixCache()
    long, short = "policy " * 1000, "policy " * 10
    first, second = _body(long, "one"), _body(long, "another question")
    assert cache.look_up("m", first, tokens.prompt_tokens(first)) == 0
    hit = cache.look_up("m", second, tokens.prompt_tokens(second))
    assert hit >= 1024
    assert hit % 128 == 0
    assert hit <= tokens.prompt_tokens(second)
    assert cache.look_up("m", _body(short), 30) == 0
    assert cache.look_up("m", _body(short), 30) == 0


def test_models_do_not_share_a_cache() -> None:
    cache = tokens.PrefixCache()
    body = _body("policy " * 1000)
    cache.look_up("small", body, tokens.prompt_tokens(body))
    assert cache.look_up("large", body, tokens.prompt_tokens(body)) == 0


def test_the_cache_is_bounded() -> None:
    cache = tokens.PrefixCache(blocks=4)
    body = _body("policy " * 1000)
    for _ in range(2):
        assert cache.look_up("m", body, tokens.prompt_tokens(body)) == 0
