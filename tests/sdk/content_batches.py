"""Drives a provider, or a gateway before one, with Google's SDK, unmodified: batches of contents.

usage: content_batches.py BASE_URL KEY MODEL
Prints `ok CASE` for each case that held.
"""

import time

from driver import LAST, google_client, run
from driver import refused_by_google as refused
from google.genai import types
from google.genai.errors import ClientError

MODEL = LAST.split(",")[0]


def ask(words, key=None, **config):
    asked = {"contents": [{"role": "user", "parts": [{"text": words}]}]}
    if key is not None:
        asked["metadata"] = {"key": key}
    if config:
        asked["config"] = config
    return asked


def make(client, asks, name="asks", model=MODEL):
    return client.batches.create(model=model, src=asks, config={"display_name": name})


def ended(client, batch):
    while not batch.done:
        assert batch.state in (types.JobState.JOB_STATE_PENDING, types.JobState.JOB_STATE_RUNNING), batch
        assert batch.dest is None
        batch = client.batches.get(name=batch.name)
    return batch


def delete(client, batch):
    """Whoever books what it used needs a moment."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return client.batches.delete(name=batch.name)
        except ClientError as error:
            assert error.code == 409 and time.monotonic() < deadline, error
            time.sleep(0.05)


def whole(client):
    asks = [
        ask("one", "first", system_instruction="Be brief.", temperature=0.5),
        ask("two", max_output_tokens=100_000_000),
        ask("three", "third"),
    ]
    made = make(client, asks, "three of them")
    assert (made.state, made.display_name) == (types.JobState.JOB_STATE_PENDING, "three of them")
    assert made.name.startswith("batches/") and made.create_time and not made.end_time
    batch = ended(client, made)
    assert (batch.name, batch.state) == (made.name, types.JobState.JOB_STATE_SUCCEEDED)
    assert batch.end_time >= batch.create_time
    one, two, three = batch.dest.inlined_responses
    assert one.response.text == "You said: one" and three.response.text == "You said: three"
    assert one.response.usage_metadata.candidates_token_count > 0
    assert (one.metadata, two.metadata, three.metadata) == ({"key": "first"}, None, {"key": "third"})
    assert two.response is None and two.error.code == 3, two
    assert "max_output_tokens" in two.error.message, two


def named(client):
    """A request may name the model again, and none but that of its address."""
    model = MODEL.removeprefix("models/")
    batch = ended(client, make(client, [{"model": model, **ask("one")}, {"model": f"models/{model}", **ask("two")}]))
    assert [one.response.text for one in batch.dest.inlined_responses] == ["You said: one", "You said: two"]
    error = refused([400], lambda: make(client, [{"model": "models/gemini-2.0-flash", **ask("one")}]))
    assert error.status == "INVALID_ARGUMENT" and "requests[0].request.model" in error.message, error


def cancelled(client):
    batch = make(client, [ask(str(number)) for number in range(6)])
    client.batches.cancel(name=batch.name)
    batch = ended(client, batch)
    assert batch.state == types.JobState.JOB_STATE_CANCELLED
    assert len(batch.dest.inlined_responses) == 3


def listed(client):
    names = [make(client, [ask("a")], f"list {number}").name for number in range(3)][::-1]
    pager = client.batches.list(config={"page_size": 2})
    assert [batch.name for batch in pager.page] == names[:2], pager.page
    assert [batch.display_name for batch in pager.page] == ["list 2", "list 1"]
    pager.next_page()
    assert pager.page[0].name == names[2]
    assert [batch.name for batch in client.batches.list(config={"page_size": 1})][:3] == names, "every page of them"


def deleted(client):
    batch = ended(client, make(client, [ask("a")]))
    delete(client, batch)
    refused([404], lambda: client.batches.get(name=batch.name))
    refused([404], lambda: client.batches.delete(name=batch.name))
    assert batch.name not in [one.name for one in client.batches.list()]


def invalid(client):
    refused([400], lambda: make(client, []))
    refused([404], lambda: client.batches.create(model="no-such-model", src=[ask("a")]))
    refused([404], lambda: client.batches.get(name="batches/none"))
    refused([404], lambda: client.batches.cancel(name="batches/none"))
    refused([404], lambda: client.batches.delete(name="batches/none"))


if __name__ == "__main__":
    run(google_client(), whole, named, cancelled, listed, deleted, invalid)
