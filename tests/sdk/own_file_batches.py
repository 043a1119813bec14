"""Drives a gateway with the official Python SDK, unmodified: batches of files that the gateway works through itself.

usage: own_file_batches.py BASE_URL KEY MODELS
MODELS are parted by commas. Prints `ok CASE` for each case that held.
"""

import json

import openai
from driver import BASE_URL, LAST, openai_client, refused, run

MODELS = LAST.split(",")
CHAT = "/v1/chat/completions"


def ask(custom_id, words, model=None, **how):
    body = {"model": model or MODELS[0], "messages": [{"role": "user", "content": words}], **how}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}


def lines(*asks):
    return "".join(json.dumps(one) + "\n" for one in asks).encode()


def upload(client, content):
    return client.files.create(file=("asks.jsonl", content), purpose="batch")


def create(client, content, endpoint=CHAT, **how):
    file = upload(client, content)
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **how)


def ended(client, batch):
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        # Only a provider's own is validated first.
        assert batch.output_file_id is None, batch
        assert batch.status in ("validating", "in_progress", "finalizing", "cancelling"), batch
        batch = client.batches.retrieve(batch.id)
    return batch


def results(client, file_id):
    text = client.files.content(file_id).text
    assert text.endswith("\n")
    said = [json.loads(line) for line in text.splitlines()]
    assert all(set(one) == {"id", "custom_id", "response", "error"} for one in said)
    assert len({one["id"] for one in said}) == len(said)
    return {one["custom_id"]: one for one in said}


def counts(batch):
    told = batch.request_counts
    return told.total, told.completed, told.failed


def whole(client):
    asks = [ask(f"of {n}", f"number {n}", model) for n, model in enumerate(MODELS)]
    asks.append(ask("unknown", "x", "nobody/knows-it"))
    content = lines(*asks)
    file = upload(client, content)
    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(content), "asks.jsonl", "batch")
    assert client.files.retrieve(file.id) == file and client.files.content(file.id).content == content
    made = client.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"for": "a test"}
    )
    assert (made.object, made.endpoint, made.metadata) == ("batch", CHAT, {"for": "a test"})
    assert (made.input_file_id, counts(made)[0]) == (file.id, len(asks))
    assert client.files.delete(file.id).deleted, "a batch has its requests itself"
    batch = ended(client, made)
    assert (batch.status, counts(batch)) == ("completed", (len(asks), len(MODELS), 1)), batch
    assert batch.completed_at >= batch.in_progress_at and batch.expires_at > batch.created_at
    good, bad = results(client, batch.output_file_id), results(client, batch.error_file_id)
    assert list(good) == [f"of {n}" for n in range(len(MODELS))] and list(bad) == ["unknown"]
    for n in range(len(MODELS)):
        response = good[f"of {n}"]["response"]
        assert response["status_code"] == 200 and response["request_id"].startswith("trc_"), response
        assert response["body"]["choices"][0]["message"]["content"] == f"You said: number {n}", response
        assert response["body"]["usage"]["total_tokens"] > 0
    response = bad["unknown"]["response"]
    assert (response["status_code"], response["body"]["error"]["code"]) == (404, "model_not_found"), response
    for file_id, size in ((batch.output_file_id, None), (batch.error_file_id, None)):
        told = client.files.retrieve(file_id)
        assert told.purpose == "batch_output" and told.bytes == len(client.files.content(file_id).content), told
    client.files.delete(batch.output_file_id)
    for gone in (file.id, batch.output_file_id):
        refused(openai.NotFoundError, lambda: client.files.retrieve(gone))
        refused(openai.NotFoundError, lambda: client.files.content(gone))
    assert list(results(client, batch.error_file_id)) == ["unknown"]


def endpoints(client):
    # The first is of one model that the project's own credential serves: its provider works through it.
    vector = {"model": "openai/text-embedding-3-small", "input": "the tide"}
    turn = {"model": MODELS[0], "input": "the moon", "store": False}
    for url, body, kind in (("/v1/embeddings", vector, "list"), ("/v1/responses", turn, "response")):
        line = lines({"custom_id": "a", "method": "POST", "url": url, "body": body})
        batch = ended(client, create(client, line, url))
        assert batch.request_counts.completed == 1, batch
        said = results(client, batch.output_file_id)["a"]["response"]["body"]
        assert said["object"] == kind, said
    wrong = lambda **how: client.batches.create(input_file_id=file.id, **{**usual, **how})
    file, usual = upload(client, lines(ask("a", "a"))), {"endpoint": CHAT, "completion_window": "24h"}
    for how in ({"endpoint": "/v1/audio/speech"}, {"completion_window": "1h"}, {"metadata": {"a": "x" * 600}}):
        refused(openai.BadRequestError, lambda: wrong(**how))


def invalid(client):
    twice = ask("a", "a")
    asks = [twice, {**ask("b", "b"), "url": "/v1/embeddings"}, twice, {**ask("c", "c"), "method": "GET"}]
    asks += [{**ask("d", "d"), "body": {"messages": []}}, ask("e", "e", stream=True)]
    batch = create(client, lines(*asks) + b"no json\n")
    assert (batch.status, batch.output_file_id, batch.failed_at is None) == ("failed", None, False), batch
    told = [(error.line, error.code, error.param) for error in batch.errors.data]
    assert told == [
        (2, "invalid_url", "url"),
        (3, "duplicate_custom_id", "custom_id"),
        (4, "invalid_method", "method"),
        (5, "missing_required_parameter", "body.model"),
        (6, "invalid_request", "body.stream"),
        (7, "invalid_json_line", None),
    ], told
    assert client.batches.retrieve(batch.id) == batch


def listed(client):
    made = [create(client, lines(ask("a", str(n)))) for n in range(3)]
    ids = [batch.id for batch in reversed(made)]
    page = client.batches.list(limit=2)
    assert [batch.id for batch in page.data] == ids[:2] and page.has_more
    assert [batch.id for batch in page][:3] == ids, "every page of them"
    files = [file.id for file in client.files.list(purpose="batch")]
    assert files[:3] == [batch.input_file_id for batch in reversed(made)]
    assert not [file for file in client.files.list(purpose="user_data")]


run(openai_client(f"{BASE_URL}/v1"), whole, endpoints, invalid, listed)
