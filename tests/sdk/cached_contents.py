"""Drives a provider, or a gateway before one, with Google's SDK, unmodified: prompts that are cached by name.

usage: cached_contents.py BASE_URL KEY MODEL
Prints `ok CASE` for each case that held.
"""

import datetime

from driver import LAST as MODEL
from driver import google_client, run
from driver import refused_by_google as refused
from google.genai import types

LONG = "tide " * 5000


def make(client, **config):
    return client.caches.create(
        model=MODEL,
        config=types.CreateCachedContentConfig(
            contents=LONG, system_instruction="Be brief.", **{"ttl": "300s", "display_name": "tides", **config}
        ),
    )


def ask(client, cache, **config):
    config = types.GenerateContentConfig(cached_content=cache.name, **config)
    return client.models.generate_content(model=MODEL, contents="When is high water?", config=config)


def created(client):
    made = make(client)
    assert made.name.startswith("cachedContents/") and made.display_name == "tides", made
    assert made.usage_metadata.total_token_count > 4096
    assert made.expire_time - made.create_time == datetime.timedelta(seconds=300)
    until = made.create_time + datetime.timedelta(hours=2)
    assert make(client, ttl=None, expire_time=until).expire_time == until


def used(client):
    made = make(client)
    usage = ask(client, made).usage_metadata
    assert usage.cached_content_token_count == made.usage_metadata.total_token_count
    assert usage.prompt_token_count > usage.cached_content_token_count
    config = types.GenerateContentConfig(cached_content=made.name)
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="And low water?", config=config))
    assert chunks[-1].usage_metadata.cached_content_token_count == made.usage_metadata.total_token_count
    error = refused([400], lambda: ask(client, made, system_instruction="More."))
    assert "can not be used" in error.message, error


def extended(client):
    made = make(client)
    longer = client.caches.update(name=made.name, config=types.UpdateCachedContentConfig(ttl="600s"))
    assert longer.name == made.name and longer.expire_time > made.expire_time
    until = made.create_time.replace(microsecond=0) + datetime.timedelta(hours=3)
    longer = client.caches.update(name=made.name, config=types.UpdateCachedContentConfig(expire_time=until))
    assert longer.expire_time == until
    assert client.caches.get(name=made.name) == longer


def listed(client):
    names = [make(client).name for _ in range(3)]
    found = {cache.name: cache for cache in client.caches.list(config={"page_size": 2})}
    assert set(names) <= set(found), found
    assert all(found[name].display_name == "tides" for name in names)


def deleted(client):
    made = make(client)
    client.caches.delete(name=made.name)
    refused([403, 404], lambda: client.caches.get(name=made.name))
    refused([403, 404], lambda: client.caches.delete(name=made.name))
    refused([403, 404], lambda: ask(client, made))
    assert made.name not in [cache.name for cache in client.caches.list()]


def invalid(client):
    refused([400], lambda: client.caches.create(model=MODEL, config=types.CreateCachedContentConfig(contents="x")))
    refused([400], lambda: make(client, ttl="soon"))
    refused([404], lambda: client.caches.create(model="no-such-model", config={"contents": LONG}))
    refused([403, 404], lambda: client.caches.get(name="cachedContents/none"))


run(google_client(), created, used, extended, listed, deleted, invalid)
