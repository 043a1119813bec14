"""Drives a provider, or a gateway before one, with the official Python SDK, unmodified: batches of messages, and files.

usage: message_batches.py BASE_URL KEY MODEL
Prints `ok CASE` for each case that held.
"""

import time

import anthropic
from driver import LAST, anthropic_client, refused, run

MODEL = LAST.split(",")[0]


def ask(custom_id, words, **how):
    params = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": words}], **how}
    return {"custom_id": custom_id, "params": params}


def scripted(script):
    return {"metadata": {"user_id": f"emu:{script}"}}


def ended(client, batch):
    while batch.processing_status != "ended":
        assert batch.results_url is None
        batch = client.messages.batches.retrieve(batch.id)
    return batch


def counts(batch):
    told = batch.request_counts
    return told.processing, told.succeeded, told.errored, told.canceled, told.expired


def delete(client, batch):
    """Whoever books what it used needs a moment."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return client.messages.batches.delete(batch.id)
        except anthropic.ConflictError:
            assert time.monotonic() < deadline, "it was never deleted"
            time.sleep(0.05)


def whole(client):
    asks = [
        ask("one", "one"),
        ask("two", "two", **scripted("status=529")),
        ask("three", "three"),
        ask("four", "four", **scripted("stall=done")),
        ask("five", "five", max_tokens=0),
    ]
    made = client.messages.batches.create(requests=asks)
    assert (made.processing_status, made.type, counts(made)) == ("in_progress", "message_batch", (5, 0, 0, 0, 0))
    batch = ended(client, made)
    assert (batch.id, counts(batch)) == (made.id, (0, 2, 2, 0, 1))
    said = {one.custom_id: one.result for one in client.messages.batches.results(batch.id)}
    assert list(said) == ["five", "four", "three", "two", "one"]
    assert said["one"].message.content[0].text == "You said: one"
    assert said["one"].message.usage.output_tokens > 0
    assert said["two"].error.error.type == "overloaded_error"
    assert said["four"].type == "expired"
    assert said["five"].error.error.type == "invalid_request_error"


def cancelled(client):
    batch = client.messages.batches.create(requests=[ask(f"ask-{n}", str(n)) for n in range(6)])
    batch = client.messages.batches.cancel(batch.id)
    assert (batch.processing_status, counts(batch)) == ("canceling", (6, 0, 0, 0, 0))
    batch = ended(client, batch)
    assert batch.cancel_initiated_at and counts(batch) == (0, 3, 0, 3, 0), batch


def listed(client):
    batches = [client.messages.batches.create(requests=[ask("a", str(n))]) for n in range(3)]
    ids = [batch.id for batch in reversed(batches)]
    page = client.messages.batches.list(limit=2)
    assert [batch.id for batch in page.data] == ids[:2] and page.has_more
    assert (page.first_id, page.last_id) == (ids[0], ids[1])
    rest = client.messages.batches.list(limit=1, after_id=ids[1])
    assert [batch.id for batch in rest.data] == ids[2:]
    newer = client.messages.batches.list(limit=1, before_id=ids[2])
    assert [batch.id for batch in newer.data] == [ids[1]] and newer.has_more
    assert [batch.id for batch in page][:3] == ids, "every page of them"


def deleted(client):
    batch = ended(client, client.messages.batches.create(requests=[ask("a", "a")]))
    gone = delete(client, batch)
    assert (gone.id, gone.type) == (batch.id, "message_batch_deleted")
    refused(anthropic.NotFoundError, lambda: client.messages.batches.retrieve(batch.id))
    going = client.messages.batches.create(requests=[ask("a", "a")])
    refused(anthropic.APIStatusError, lambda: client.messages.batches.delete(going.id))


def invalid(client):
    make = lambda *asks: client.messages.batches.create(requests=asks)
    refused(anthropic.BadRequestError, lambda: make())
    refused(anthropic.BadRequestError, lambda: make(ask("a", "a"), ask("a", "b")))
    refused(anthropic.BadRequestError, lambda: make(ask("", "a")))
    refused(anthropic.BadRequestError, lambda: make(ask("not plain", "a")))
    refused(anthropic.NotFoundError, lambda: client.messages.batches.retrieve("msgbatch_none"))
    refused(anthropic.NotFoundError, lambda: client.messages.batches.cancel("msgbatch_none"))
    refused(anthropic.NotFoundError, lambda: client.messages.batches.delete("msgbatch_none"))


def files(client):
    betas = ["files-api-2025-04-14"]
    made = client.beta.files.upload(file=("tide.txt", b"high at noon", "text/plain"), betas=betas)
    assert (made.type, made.filename, made.mime_type, made.size_bytes) == ("file", "tide.txt", "text/plain", 12)
    assert client.beta.files.retrieve_metadata(made.id, betas=betas) == made
    source = {"type": "document", "source": {"type": "file", "file_id": made.id}}
    said = [{"type": "text", "text": "When is high tide?"}, source]
    tell = lambda: client.messages.create(
        model=MODEL, max_tokens=64, messages=[{"role": "user", "content": said}]
    )
    assert tell().content[0].text == "You said: When is high tide?"
    error = refused(anthropic.BadRequestError, lambda: client.beta.files.download(made.id, betas=betas))
    assert error.error_code == "file_not_downloadable", error
    gone = client.beta.files.delete(made.id, betas=betas)
    assert (gone.id, gone.type) == (made.id, "file_deleted")
    for ask in (client.files.retrieve_metadata, client.files.download, client.files.delete):
        refused(anthropic.NotFoundError, lambda: ask(made.id))
    refused(anthropic.NotFoundError, tell)


def listed_files(client):
    made = [client.files.upload(file=(f"{n}.txt", b"x"), expires_in_seconds=3_600) for n in range(3)]
    assert all(file.expires_at for file in made)
    page = client.files.list(limit=2)
    assert page.data == [made[2], made[1]] and page.next_page
    assert list(client.files.list(limit=2)) == made[::-1], "every page of them"
    refused(anthropic.BadRequestError, lambda: client.files.list(limit=0))
    refused(anthropic.BadRequestError, lambda: client.files.upload(file=("a.txt", b"x"), expires_in_seconds=1))
    for file in made:
        client.files.delete(file.id)
    assert client.files.list().data == []


if __name__ == "__main__":
    run(anthropic_client(), whole, cancelled, listed, deleted, invalid, files, listed_files)
