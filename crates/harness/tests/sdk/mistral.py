"""Drives the emulator with Mistral's official Python SDK and checks what a user of it would see.

usage: mistral.py ORIGIN KEY
"""

import sys

from mistralai.client import Mistral
from mistralai.client.errors import MistralError

MODEL = "mistral-large-2512"
ASK = [{"role": "user", "content": "Tell me about tides"}]
SAID = "You said: Tell me about tides"
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
origin, key = sys.argv[1:3]


def client(secret=key):
    return Mistral(api_key=secret, server_url=origin)


def refused(status, word, call):
    try:
        call()
    except MistralError as error:
        assert error.status_code == status and word in error.body, (error.status_code, error.body)
    else:
        raise AssertionError(f"{word} was taken")


def buffered():
    answer = client().chat.complete(model=MODEL, messages=ASK, random_seed=7, safe_prompt=True, max_tokens=64)
    assert answer.choices[0].message.content == SAID, answer
    assert answer.usage.total_tokens > 0 and answer.model == MODEL


def streamed():
    chunks = [event.data for event in client().chat.stream(model=MODEL, messages=ASK)]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == SAID, text
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens > 0, "the last chunk tells its usage unasked"


def thought():
    answer = client().chat.complete(model="magistral-medium-latest", messages=ASK)
    parts = answer.choices[0].message.content
    assert [part.type for part in parts] == ["thinking", "text"], parts
    assert parts[0].thinking[0].text and parts[1].text == SAID


def tool_loop():
    options = {"model": MODEL, "tools": [WEATHER]}
    answer = client().chat.complete(messages=ASK, tool_choice="any", **options)
    message = answer.choices[0].message
    call = message.tool_calls[0]
    assert len(call.id) == 9 and call.id.isalnum(), call
    assert answer.choices[0].finish_reason == "tool_calls"
    result = {"role": "tool", "name": "weather", "tool_call_id": call.id, "content": "sunny"}
    again = client().chat.complete(messages=[*ASK, message, result], **options)
    assert again.choices[0].message.content, again


def embedded():
    answer = client().embeddings.create(model="mistral-embed", inputs=["a", "b"])
    assert len(answer.data) == 2 and len(answer.data[0].embedding) > 0
    assert answer.usage.prompt_tokens > 0


def listed():
    assert any(model.id == MODEL for model in client().models.list().data)


def strange_call_id():
    calls = [{"id": "call_1", "function": {"name": "weather", "arguments": "{}"}}]
    turn = {"role": "assistant", "content": "", "tool_calls": calls}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
    refused(400, "3280", lambda: client().chat.complete(model=MODEL, messages=[*ASK, turn, result]))


def order():
    calls = [{"id": "D681PevKs", "function": {"name": "weather", "arguments": "{}"}}]
    turn = {"role": "assistant", "content": "", "tool_calls": calls}
    result = {"role": "tool", "tool_call_id": "D681PevKs", "content": "sunny"}
    refused(400, "3230", lambda: client().chat.complete(model=MODEL, messages=[*ASK, turn, result, *ASK]))


def no_such_model():
    refused(400, "invalid_model", lambda: client().chat.complete(model="gpt-4o", messages=ASK))


def limited():
    script = {"emulate": "status=429"}
    refused(429, "rate_limited", lambda: client().chat.complete(model=MODEL, messages=ASK, metadata=script))


def wrong_key():
    refused(401, "Unauthorized", lambda: client("nobody").chat.complete(model=MODEL, messages=ASK))


for case in (
    buffered,
    streamed,
    thought,
    tool_loop,
    embedded,
    listed,
    strange_call_id,
    order,
    no_such_model,
    limited,
    wrong_key,
):
    case()
    print("ok", case.__name__)
