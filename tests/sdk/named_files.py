"""Drives a provider, or a gateway before one, with the official Python SDK, unmodified: files that conversations name.

usage: named_files.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import openai
from driver import openai_client, refused, run

MODEL = "gpt-4o-mini"
PDF = b"%PDF-1.4 high tide at noon"


def upload(client, name="tide.pdf"):
    return client.files.create(file=(name, PDF), purpose="user_data")


def said(*files):
    parts = [{"type": "input_file", "file_id": file} for file in files]
    return [{"role": "user", "content": [{"type": "input_text", "text": "When is high tide?"}, *parts]}]


def told(*files):
    parts = [{"type": "file", "file": {"file_id": file}} for file in files]
    return [{"role": "user", "content": [{"type": "text", "text": "When is high tide?"}, *parts]}]


def responses(client):
    file, other = upload(client), upload(client, "ebb.pdf")
    whole = client.responses.create(model=MODEL, input=said(file.id, other.id, file.id))
    assert whole.status == "completed" and whole.output_text
    picture = {"type": "input_image", "file_id": other.id, "detail": "auto"}
    whole = client.responses.create(model=MODEL, input=[{"role": "user", "content": [picture]}])
    assert whole.status == "completed"
    with client.responses.stream(model=MODEL, input=said(file.id)) as stream:
        assert stream.get_final_response().output_text
    again = client.responses.create(
        model=MODEL, input=said(file.id), previous_response_id=whole.id, metadata={"file_id": file.id}
    )
    assert again.metadata == {"file_id": file.id}, "what is the client's own stays"


def chat(client):
    file = upload(client)
    whole = client.chat.completions.create(model=MODEL, messages=told(file.id))
    assert whole.choices[0].message.content
    stream = client.chat.completions.create(model=MODEL, messages=told(file.id), stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def gone(client):
    file = upload(client)
    client.responses.create(model=MODEL, input=said(file.id))
    client.files.delete(file.id)
    for stream in (False, True):
        error = refused(
            openai.NotFoundError, lambda: client.responses.create(model=MODEL, input=said(file.id), stream=stream)
        )
        assert error.param == "input[0].content[1].file_id", error
        error = refused(
            openai.NotFoundError,
            lambda: client.chat.completions.create(model=MODEL, messages=told(file.id), stream=stream),
        )
        assert error.param == "messages[0].content[1].file.file_id", error


run(openai_client(), responses, chat, gone)
