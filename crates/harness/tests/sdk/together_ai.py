"""Drives the emulator with Together's official Python SDK and checks what a user of it would see.

usage: together_ai.py ORIGIN KEY
"""

import sys

from together import APIStatusError, Together

MODEL = "meta-llama/Llama-3.3-70B-Instruct"
ASK = [{"role": "user", "content": "Tell me about tides"}]
SAID = "You said: Tell me about tides"
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
origin, key = sys.argv[1:3]


def client(secret=key):
    return Together(api_key=secret, base_url=origin, max_retries=0)


def refused(status, word, call):
    try:
        call()
    except APIStatusError as error:
        assert error.status_code == status and word in error.response.text, (error.status_code, error.response.text)
    else:
        raise AssertionError(f"{word} was taken")


def buffered():
    answer = client().chat.completions.create(
        model=MODEL, messages=ASK, max_tokens=64, stop=["never"], top_k=40, repetition_penalty=1.0,
        context_length_exceeded_behavior="error",
    )
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason) == (SAID, "eos"), answer
    assert answer.usage.total_tokens > 0 and answer.model == MODEL


def streamed():
    chunks = list(client().chat.completions.create(model=MODEL, messages=ASK, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == SAID, text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "eos"
    assert chunks[-1].usage.completion_tokens > 0, "the last chunk tells its usage unasked"


def tool_loop():
    options = {"model": MODEL, "tools": [WEATHER]}
    answer = client().chat.completions.create(messages=ASK, tool_choice="required", **options)
    choice = answer.choices[0]
    call = choice.message.tool_calls[0]
    assert (choice.finish_reason, call.function.name) == ("tool_calls", "weather"), answer
    turn = {"role": "assistant", "content": "", "tool_calls": [call.model_dump()]}
    turn["tool_calls"][0].pop("index", None)
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    again = client().chat.completions.create(messages=[*ASK, turn, result], **options)
    assert again.choices[0].message.content, again


def limited_in_length():
    answer = client().chat.completions.create(model=MODEL, messages=ASK, max_tokens=2)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 2


def a_newer_length_is_passed_over():
    extra = {"max_completion_tokens": 2}
    answer = client().chat.completions.create(model=MODEL, messages=ASK, extra_body=extra)
    assert answer.choices[0].finish_reason == "eos", answer


def embedded():
    answer = client().embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert len(answer.data) == 2 and len(answer.data[0].embedding) > 0


def one_text_to_stop_at():
    refused(400, "stop", lambda: client().chat.completions.create(model=MODEL, messages=ASK, stop="never"))


def no_such_model():
    refused(404, "model", lambda: client().chat.completions.create(model="nobody/nothing", messages=ASK))


def limited():
    script = {"user": "emu:status=429"}
    refused(429, "rate", lambda: client().chat.completions.create(model=MODEL, messages=ASK, extra_body=script))


def wrong_key():
    refused(401, "key", lambda: client("nobody").chat.completions.create(model=MODEL, messages=ASK))


for case in (
    buffered,
    streamed,
    tool_loop,
    limited_in_length,
    a_newer_length_is_passed_over,
    embedded,
    one_text_to_stop_at,
    no_such_model,
    limited,
    wrong_key,
):
    case()
    print("ok", case.__name__)
