"""Drives a gateway with the official Python SDK, unmodified: batches of messages that the gateway works through itself.

usage: own_message_batches.py BASE_URL KEY MODELS
MODELS are parted by commas. Prints `ok CASE` for each case that held.
"""

import anthropic
import message_batches
from driver import LAST, anthropic_client, refused, run
from message_batches import ask, counts, ended, listed

MODELS = LAST.split(",")


def whole(client):
    asks = [ask(f"of-{n}", f"number {n}", model=model) for n, model in enumerate(MODELS)]
    asks.append(ask("unknown", "x", model="nobody/knows-it"))
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


def deleted(client):
    batch = ended(client, client.messages.batches.create(requests=[ask("a", "a")]))
    gone = client.messages.batches.delete(batch.id)
    assert (gone.id, gone.type) == (batch.id, "message_batch_deleted")
    refused(anthropic.NotFoundError, lambda: client.messages.batches.retrieve(batch.id))


def invalid(client):
    message_batches.invalid(client)
    streamed = [ask("a", "a", stream=True)]
    refused(anthropic.BadRequestError, lambda: client.messages.batches.create(requests=streamed))


run(anthropic_client(), whole, listed, deleted, invalid)
