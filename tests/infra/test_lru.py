from agentplat.infra.lru import LRU


def test_what_was_used_longest_ago_goes_first() -> None:
    cache: LRU[str, int] = LRU(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]
    assert len(cache) == 2


def test_the_bound_is_on_weights() -> None:
    cache: LRU[str, str] = LRU(100)
    cache.put("a", "x", 60)
    cache.put("b", "y", 60)
    assert cache.get("a") is None
    assert (cache.get("b"), cache.weight) == ("y", 60)
    cache.put("b", "z", 10)
    assert cache.weight == 10


def test_what_is_larger_than_the_whole_cache_is_not_kept() -> None:
    cache: LRU[str, str] = LRU(100)
    cache.put("a", "x", 50)
    cache.put("b", "y", 101)
    assert cache.get("b") is None
    assert cache.get("a") == "x"


def test_forgetting() -> None:
    cache: LRU[str, str] = LRU(100)
    cache.put("a", "x", 50)
    cache.pop("a")
    cache.pop("never there")
    assert (cache.get("a"), cache.weight) == (None, 0)
    cache.put("a", "x", 50)
    cache.clear()
    assert (len(cache), cache.weight) == (0, 0)
