"""Drives a provider, or a gateway before one, with the official Python SDK, unmodified: files that are kept.

usage: files.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import io

import openai
from driver import openai_client, refused, run

LINES = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o-mini"}}\n'


def lifecycle(client):
    made = client.files.create(file=("lines.jsonl", LINES), purpose="batch")
    assert (made.object, made.purpose, made.filename, made.bytes) == ("file", "batch", "lines.jsonl", len(LINES))
    assert client.files.retrieve(made.id) == made
    assert client.files.wait_for_processing(made.id, poll_interval=0.01) == made
    assert client.files.content(made.id).read() == LINES
    with client.files.with_streaming_response.content(made.id) as answer:
        assert b"".join(answer.iter_bytes()) == LINES
    gone = client.files.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "file")
    for ask in (client.files.retrieve, client.files.content, client.files.delete):
        refused(openai.NotFoundError, lambda: ask(made.id))


def lists(client):
    made = [client.files.create(file=(f"{n}.jsonl", LINES), purpose="batch") for n in range(3)]
    other = client.files.create(file=("tide.txt", b"high"), purpose="user_data")
    names = lambda **how: [file.id for file in client.files.list(**how)]
    ids = [file.id for file in made]
    assert names() == [other.id, *ids[::-1]], names()
    assert names(order="asc", limit=1) == [*ids, other.id], "page by page"
    assert names(purpose="batch") == ids[::-1]
    page = client.files.list(limit=2)
    assert page.has_more and page.data == [other, made[2]]
    assert client.files.list(limit=2, after=page.data[-1].id).data == [made[1], made[0]]
    for id in [other.id, *ids]:
        client.files.delete(id)
    assert names() == []


def large(client):
    content = bytes(range(256)) * 20_000
    made = client.files.create(file=io.BytesIO(content), purpose="fine-tune")
    assert made.bytes == len(content)
    assert client.files.content(made.id).read() == content
    client.files.delete(made.id)


def refusals(client):
    refused(openai.BadRequestError, lambda: client.files.create(file=("a.txt", b"x"), purpose="batch"))
    refused(openai.BadRequestError, lambda: client.files.create(file=("a.txt", b"x"), purpose="nothing"))
    refused(openai.BadRequestError, lambda: client.files.list(limit=0).data)
    kept = client.files.create(file=("a.txt", b"x"), purpose="user_data")
    refused(openai.BadRequestError, lambda: client.files.content(kept.id))
    client.files.delete(kept.id)


run(openai_client(), lifecycle, lists, large, refusals)
