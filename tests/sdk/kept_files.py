"""Drives a gateway with the official Python SDK, unmodified: files that the gateway itself keeps.

usage: kept_files.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import io

import openai
from driver import openai_client, refused

client = openai_client()
TEXT = b"Revenue rose by 4 %."

made = client.files.create(file=("report.txt", TEXT), purpose="user_data")
assert (made.object, made.purpose, made.filename, made.bytes) == ("file", "user_data", "report.txt", len(TEXT))
assert client.files.retrieve(made.id) == made
assert client.files.content(made.id).read() == TEXT
assert client.files.wait_for_processing(made.id, poll_interval=0.01) == made
print("ok", "lifecycle")

picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40_000
large = client.files.create(
    file=io.BytesIO(picture), purpose="vision", expires_after={"anchor": "created_at", "seconds": 3600}
)
assert large.bytes == len(picture) and large.expires_at == large.created_at + 3600, large
with client.files.with_streaming_response.content(large.id) as answer:
    assert b"".join(answer.iter_bytes()) == picture
print("ok", "large")

others = [client.files.create(file=(f"{n}.txt", TEXT), purpose="user_data") for n in range(3)]
ids = [file.id for file in others]
assert [file.id for file in client.files.list()] == [*ids[::-1], large.id, made.id]
assert [file.id for file in client.files.list(order="asc", limit=2)] == [made.id, large.id, *ids]
assert [file.id for file in client.files.list(purpose="vision")] == [large.id]
print("ok", "lists")

error = refused(openai.BadRequestError, lambda: client.files.create(file=("a", TEXT), purpose="nonsense"))
assert error.code == "invalid_value" and error.param == "purpose", error.body
assert len(list(client.files.list())) == 5
print("ok", "purposes")

for id in [*ids, large.id, made.id]:
    gone = client.files.delete(id)
    assert (gone.id, gone.deleted, gone.object) == (id, True, "file")
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        refused(openai.NotFoundError, lambda: call(id))
assert list(client.files.list()) == []
print("ok", "deletion")
