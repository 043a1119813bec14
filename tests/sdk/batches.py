"""Drives a provider, or a gateway before one, with the official Python SDK, unmodified: batches of requests.

usage: batches.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import json

import openai
from driver import openai_client, refused, run


def lines(*bodies, url="/v1/chat/completions"):
    asks = [{"custom_id": f"ask-{n}", "method": "POST", "url": url, "body": body} for n, body in enumerate(bodies)]
    return "".join(json.dumps(ask) + "\n" for ask in asks).encode()


def chat(words, **how):
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": words}], **how}


def upload(client, content):
    return client.files.create(file=("asks.jsonl", content), purpose="batch")


def create(client, content, endpoint="/v1/chat/completions", **how):
    return client.batches.create(
        input_file_id=upload(client, content).id, endpoint=endpoint, completion_window="24h", **how
    )


def ended(client, batch):
    seen = [batch.status]
    while batch.status not in ("completed", "failed", "cancelled"):
        batch = client.batches.retrieve(batch.id)
        seen.append(batch.status)
    return batch, seen


def results(client, file_id):
    said = [json.loads(line) for line in client.files.content(file_id).text.splitlines()]
    return {one["custom_id"]: one for one in said}


def whole(client):
    asks = [chat("one"), chat("two", user="emu:status=429"), chat("three")]
    made = create(client, lines(*asks), metadata={"for": "a test"})
    assert (made.status, made.object, made.metadata) == ("validating", "batch", {"for": "a test"})
    batch, seen = ended(client, made)
    assert seen[0] == "validating" and seen[-1] == "completed", seen
    assert (batch.id, batch.input_file_id) == (made.id, made.input_file_id)
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (3, 2, 1)
    good, bad = results(client, batch.output_file_id), results(client, batch.error_file_id)
    assert list(good) == ["ask-2", "ask-0"] and list(bad) == ["ask-1"]
    assert good["ask-0"]["response"]["body"]["choices"][0]["message"]["content"] == "You said: one"
    assert bad["ask-1"]["response"]["status_code"] == 429
    assert client.files.retrieve(batch.output_file_id).purpose == "batch_output"
    listed = client.batches.list(limit=1)
    assert listed.data[0].id == batch.id and listed.data[0].status == "completed"


def vectors(client):
    body = {"model": "text-embedding-3-small", "input": "the tide"}
    batch, _ = ended(client, create(client, lines(body, url="/v1/embeddings"), "/v1/embeddings"))
    said = results(client, batch.output_file_id)["ask-0"]["response"]["body"]
    assert said["object"] == "list" and said["usage"]["prompt_tokens"] > 0


def cancelled(client):
    batch = create(client, lines(*[chat(str(n)) for n in range(6)]))
    batch = client.batches.retrieve(batch.id)
    batch = client.batches.cancel(batch.id)
    assert batch.status == "cancelling", batch.status
    batch, _ = ended(client, batch)
    assert batch.status == "cancelled"
    assert len(results(client, batch.output_file_id)) == 3, "what was done by then"


def invalid(client):
    wrong = lines(chat("a")) + lines(chat("b")) + b"no json\n"
    batch, _ = ended(client, create(client, wrong))
    assert batch.status == "failed"
    told = {(error.code, error.line) for error in batch.errors.data}
    assert told == {("duplicate_custom_id", 2), ("invalid_json_line", 3)}, told
    good = upload(client, lines(chat("a"))).id
    make = lambda **how: client.batches.create(**{"input_file_id": good, "endpoint": "/v1/chat/completions", "completion_window": "24h", **how})
    refused(openai.BadRequestError, lambda: make(endpoint="/v1/elsewhere"))
    refused(openai.BadRequestError, lambda: make(completion_window="1h"))
    refused((openai.NotFoundError, openai.BadRequestError), lambda: make(input_file_id="file-none"))
    other = client.files.create(file=("a.txt", b"x"), purpose="user_data").id
    refused(openai.BadRequestError, lambda: make(input_file_id=other))
    refused(openai.NotFoundError, lambda: client.batches.retrieve("batch_none"))
    refused(openai.NotFoundError, lambda: client.batches.cancel("batch_none"))


run(openai_client(), whole, vectors, cancelled, invalid)
