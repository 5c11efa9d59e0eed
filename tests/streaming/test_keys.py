"""Keys: the format that the data have in Redis, and no name that reaches outside its own."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from streaming.keys import BUCKETS, FORMAT_KEY, StreamKeys, bucket_of, bucket_tag, name_from_channel, names_key

HOSTILE = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    st.lists(
        st.sampled_from(
            [":", "{", "}", "s", "e", "%", "%3A", "::", "names", "generation", "l", ":s", ":l", "/", "a", "*", "\n"]
        ),
        min_size=1,
        max_size=6,
    ).map("".join),
)


def _keys(name: str) -> list[str]:
    keys = StreamKeys.of(name)
    return [keys.state, keys.entries, keys.producers, keys.forks, keys.channel]


def test_keys_are_as_the_data_format_says() -> None:
    """The format can't be changed later: these texts are in people's Redis."""
    assert StreamKeys.of("chat/größe:1") == StreamKeys(
        bucket=0xC2,
        state="streamsite:{c2}:chat/gr%C3%B6%C3%9Fe%3A1:s",
        entries="streamsite:{c2}:chat/gr%C3%B6%C3%9Fe%3A1:e",
        producers="streamsite:{c2}:chat/gr%C3%B6%C3%9Fe%3A1:p",
        forks="streamsite:{c2}:chat/gr%C3%B6%C3%9Fe%3A1:f",
        names="streamsite:{c2}::names",
        generation="streamsite:{c2}::generation",
        channel="streamsite:{c2}:chat/gr%C3%B6%C3%9Fe%3A1:l",
    )
    assert (BUCKETS, FORMAT_KEY) == (256, "streamsite:format")


@given(HOSTILE, HOSTILE)
def test_two_names_never_share_a_key(first: str, second: str) -> None:
    """Colons, braces, percent signs and our own suffixes in a name stay inside it."""
    shared = set(_keys(first)) & set(_keys(second))
    assert bool(shared) == (first == second)
    of_bucket = {names_key(bucket_of(first)), StreamKeys.of(first).generation}
    assert not of_bucket & set(_keys(second))
    assert len(set(_keys(first)) | of_bucket) == 7


@given(HOSTILE)
def test_all_keys_of_a_bucket_share_a_cluster_slot(name: str) -> None:
    """A script may touch a stream, its bucket's names and its generation together."""
    keys = StreamKeys.of(name)
    texts = [value for value in dataclasses.astuple(keys) if isinstance(value, str)]
    assert {key_slot(text.encode()) for text in texts} == {key_slot(bucket_tag(keys.bucket).encode())}


@given(HOSTILE)
def test_channel_leads_back_to_its_name(name: str) -> None:
    """The follower learns from the channel alone whose push it is."""
    assert name_from_channel(StreamKeys.of(name).channel) == name


def test_buckets_spread_over_the_slots() -> None:
    """256 hash tags fall into (almost) as many slots, so a Cluster's nodes share them."""
    assert len({key_slot(bucket_tag(bucket).encode()) for bucket in range(BUCKETS)}) > 250
