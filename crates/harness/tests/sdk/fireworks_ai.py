"""Drives the emulator with Fireworks' official Python SDK and checks what a user of it would see.

usage: fireworks_ai.py ORIGIN KEY
"""

import sys

from fireworks import APIStatusError, Fireworks

MODEL = "accounts/fireworks/models/llama-v3p3-70b-instruct"
THINKER = "accounts/fireworks/models/gpt-oss-120b"
ASK = [{"role": "user", "content": "Tell me about tides"}]
SAID = "You said: Tell me about tides"
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
origin, key = sys.argv[1:3]


def client(secret=key):
    return Fireworks(api_key=secret, base_url=origin, max_retries=0)


def refused(status, word, call):
    try:
        call()
    except APIStatusError as error:
        assert error.status_code == status and word in error.response.text, (error.status_code, error.response.text)
    else:
        raise AssertionError(f"{word} was taken")


def buffered():
    answer = client().chat.completions.create(
        model=MODEL, messages=ASK, max_tokens=64, top_k=40, context_length_exceeded_behavior="error",
        prompt_cache_isolation_key="one",
    )
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason) == (SAID, "stop"), answer
    assert answer.usage.total_tokens > 0 and answer.model == MODEL


def streamed():
    chunks = list(client().chat.completions.create(model=MODEL, messages=ASK, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == SAID, text
    assert chunks[-1].usage.completion_tokens > 0, "the last chunk tells its usage unasked"


def thought():
    answer = client().chat.completions.create(model=THINKER, messages=ASK, reasoning_effort="low")
    assert answer.choices[0].message.reasoning_content and answer.choices[0].message.content == SAID, answer


def tool_loop():
    options = {"model": MODEL, "tools": [WEATHER]}
    answer = client().chat.completions.create(messages=ASK, tool_choice="required", **options)
    choice = answer.choices[0]
    call = choice.message.tool_calls[0]
    assert (choice.finish_reason, call.function.name) == ("tool_calls", "weather"), answer
    function = {"name": call.function.name, "arguments": call.function.arguments}
    calls = [{"id": call.id, "type": "function", "function": function}]
    turn = {"role": "assistant", "content": "", "tool_calls": calls}
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    again = client().chat.completions.create(messages=[*ASK, turn, result], **options)
    assert again.choices[0].message.content, again


def continued():
    answer = client().completions.create(model=MODEL, prompt="The tide", max_tokens=4)
    assert answer.choices[0].text and answer.usage.completion_tokens == 4, answer


def unknown_field():
    extra = {"colour": "blue"}
    refused(400, "colour", lambda: client().chat.completions.create(model=MODEL, messages=ASK, extra_body=extra))


def no_such_model():
    refused(404, "model", lambda: client().chat.completions.create(model="accounts/nobody/models/x", messages=ASK))


def limited():
    script = {"user": "emu:status=429"}
    refused(429, "rate", lambda: client().chat.completions.create(model=MODEL, messages=ASK, extra_body=script))


def wrong_key():
    refused(401, "key", lambda: client("nobody").chat.completions.create(model=MODEL, messages=ASK))


for case in (
    buffered,
    streamed,
    thought,
    tool_loop,
    continued,
    unknown_field,
    no_such_model,
    limited,
    wrong_key,
):
    case()
    print("ok", case.__name__)
