"""Drives a gateway with Google's SDK, unmodified: batches of contents that the gateway works through itself.

usage: own_content_batches.py BASE_URL KEY MODELS
MODELS are parted by commas. Prints `ok CASE` for each case that held.
"""

from content_batches import ask, ended, listed, make
from driver import LAST, google_client, run
from driver import refused_by_google as refused
from google.genai import types

MODELS = LAST.split(",")


def whole(client):
    for model in MODELS:
        asks = [ask("one", "first", system_instruction="Be brief."), ask("two"), ask("three", "third")]
        made = make(client, asks, "three of them", model)
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


def deleted(client):
    batch = ended(client, make(client, [ask("a")]))
    client.batches.delete(name=batch.name)
    refused([404], lambda: client.batches.get(name=batch.name))
    refused([404], lambda: client.batches.delete(name=batch.name))


run(google_client(), whole, partly_refused, listed, deleted)
