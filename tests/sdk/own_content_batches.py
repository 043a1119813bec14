"""Drives a gateway with Google's SDK, unmodified: batches of contents that the gateway works through itself.

usage: own_content_batches.py BASE_URL KEY MODELS
MODELS are parted by commas. Prints `ok CASE` for each case that held.
"""

import sys

from google import genai
from google.genai import types

MODELS = []


def ask(words, key=None, **config):
    asked = {"contents": [{"role": "user", "parts": [{"text": words}]}]}
    if key is not None:
        asked["metadata"] = {"key": key}
    if config:
        asked["config"] = config
    return asked


def make(client, asks, model=None, name="asks"):
    return client.batches.create(model=model or MODELS[0], src=asks, config={"display_name": name})


def ended(client, batch):
    while not batch.done:
        assert batch.state in (types.JobState.JOB_STATE_PENDING, types.JobState.JOB_STATE_RUNNING), batch
        assert batch.dest is None
        batch = client.batches.get(name=batch.name)
    return batch


def refused(code, call):
    try:
        call()
    except genai.errors.ClientError as error:
        assert error.code == code, error
        return error
    raise AssertionError("nothing was refused")


def whole(client):
    for model in MODELS:
        asks = [ask("one", "first", system_instruction="Be brief."), ask("two"), ask("three", "third")]
        made = make(client, asks, model, "three of them")
        assert made.display_name == "three of them" and made.create_time and not made.end_time, made
        batch = ended(client, made)
        assert (batch.name, batch.state) == (made.name, types.JobState.JOB_STATE_SUCCEEDED)
        assert batch.end_time >= batch.create_time
        results = batch.dest.inlined_responses
        assert [one.response.text for one in results] == ["You said: one", "You said: two", "You said: three"]
        assert [one.metadata for one in results] == [{"key": "first"}, None, {"key": "third"}]
        assert all(one.response.usage_metadata.candidates_token_count > 0 for one in results)


def partly_refused(client):
    refusable = ask("two", "second")
    refusable["contents"] = [{"role": "user", "parts": [{"video_metadata": {"fps": 1.0}, "text": "x"}]}]
    batch = ended(client, make(client, [ask("one"), refusable]))
    one, two = batch.dest.inlined_responses
    assert one.response.text == "You said: one" and one.error is None
    assert two.response is None and two.error.code == 3 and two.error.message, two
    assert two.metadata == {"key": "second"}, two


def listed(client):
    names = [make(client, [ask("a")], name=f"list {number}").name for number in range(3)][::-1]
    pager = client.batches.list(config={"page_size": 2})
    assert [batch.name for batch in pager.page] == names[:2], pager.page
    assert [batch.display_name for batch in pager.page] == ["list 2", "list 1"]


def deleted(client):
    batch = ended(client, make(client, [ask("a")]))
    client.batches.delete(name=batch.name)
    refused(404, lambda: client.batches.get(name=batch.name))
    refused(404, lambda: client.batches.delete(name=batch.name))


CASES = [whole, partly_refused, listed, deleted]


def main():
    base_url, key, models = sys.argv[1:]
    MODELS.extend(models.split(","))
    client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base_url, timeout=20_000))
    for case in CASES:
        case(client)
        print("ok", case.__name__)


main()
