"""Drives a gateway with the official Python SDK, unmodified: batches of messages that the gateway works through itself.

usage: own_message_batches.py BASE_URL KEY MODELS
MODELS are parted by commas. Prints `ok CASE` for each case that held.
"""

import sys

import anthropic

MODELS = []


def ask(custom_id, words, model=None, **how):
    params = {
        "model": model or MODELS[0],
        "max_tokens": 64,
        "messages": [{"role": "user", "content": words}],
        **how,
    }
    return {"custom_id": custom_id, "params": params}


def ended(client, batch):
    while batch.processing_status != "ended":
        assert batch.results_url is None
        batch = client.messages.batches.retrieve(batch.id)
    return batch


def counts(batch):
    told = batch.request_counts
    return told.processing, told.succeeded, told.errored, told.canceled, told.expired


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError("nothing was refused")


def whole(client):
    asks = [ask(f"of-{n}", f"number {n}", model) for n, model in enumerate(MODELS)]
    asks.append(ask("unknown", "x", "nobody/knows-it"))
    asks.append(ask("empty", "x", max_tokens=-1))
    made = client.messages.batches.create(requests=asks)
    assert (made.processing_status, made.type) == ("in_progress", "message_batch")
    assert counts(made) == (len(asks), 0, 0, 0, 0)
    batch = ended(client, made)
    assert (batch.id, counts(batch)) == (made.id, (0, len(MODELS), 2, 0, 0)), batch
    assert batch.ended_at and batch.expires_at > batch.created_at
    said = {one.custom_id: one.result for one in client.messages.batches.results(batch.id)}
    assert list(said) == [one["custom_id"] for one in asks]
    for n in range(len(MODELS)):
        message = said[f"of-{n}"].message
        assert message.type == "message" and message.usage.output_tokens > 0
        assert message.content[0].text == f"You said: number {n}", message
    assert said["unknown"].error.error.type == "not_found_error"
    assert said["unknown"].error.request_id
    assert said["empty"].error.error.type == "invalid_request_error"


def listed(client):
    batches = [client.messages.batches.create(requests=[ask("a", str(n))]) for n in range(3)]
    ids = [batch.id for batch in reversed(batches)]
    page = client.messages.batches.list(limit=2)
    assert [batch.id for batch in page.data] == ids[:2] and page.has_more
    rest = client.messages.batches.list(limit=1, after_id=ids[1])
    assert [batch.id for batch in rest.data] == ids[2:]
    newer = client.messages.batches.list(limit=1, before_id=ids[2])
    assert [batch.id for batch in newer.data] == [ids[1]] and newer.has_more
    assert [batch.id for batch in page][:3] == ids, "every page of them"


def deleted(client):
    batch = ended(client, client.messages.batches.create(requests=[ask("a", "a")]))
    gone = client.messages.batches.delete(batch.id)
    assert (gone.id, gone.type) == (batch.id, "message_batch_deleted")
    refused(anthropic.NotFoundError, lambda: client.messages.batches.retrieve(batch.id))


def invalid(client):
    make = lambda *asks: client.messages.batches.create(requests=asks)
    refused(anthropic.BadRequestError, lambda: make())
    refused(anthropic.BadRequestError, lambda: make(ask("a", "a"), ask("a", "b")))
    refused(anthropic.BadRequestError, lambda: make(ask("", "a")))
    refused(anthropic.BadRequestError, lambda: make(ask("not plain", "a")))
    refused(anthropic.BadRequestError, lambda: make(ask("a", "a", stream=True)))


CASES = [whole, listed, deleted, invalid]


def main():
    base_url, key, models = sys.argv[1:]
    MODELS.extend(models.split(","))
    client = anthropic.Anthropic(base_url=base_url, api_key=key, max_retries=0, timeout=20)
    for case in CASES:
        case(client)
        print("ok", case.__name__)


main()
