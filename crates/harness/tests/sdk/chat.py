"""Drives an OpenAI-compatible server with the official Python SDK and checks what a user of it would see.

usage: chat.py BASE_URL KEY [CASE ...]
"""

import sys

import openai
from openai import OpenAI

MODEL = "gpt-4o-mini"
ASK = [{"role": "user", "content": "Tell me about tides, né 漢字 🙂"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def buffered(client):
    answer = client.chat.completions.create(model=MODEL, messages=ASK)
    choice = answer.choices[0]
    assert choice.message.content == "You said: Tell me about tides, né 漢字 🙂", choice.message.content
    assert choice.message.refusal is None
    assert choice.finish_reason == "stop", choice
    assert answer.id.startswith("chatcmpl-")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK)
    assert raw.headers["x-request-id"], raw.headers


def streamed(client):
    chunks = list(client.chat.completions.create(model=MODEL, messages=ASK, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "You said: Tell me about tides, né 漢字 🙂", text
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def include_usage(client):
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0, chunks[-1]
    assert all(chunk.usage is None for chunk in chunks[:-1])


def tools(client):
    answer = client.chat.completions.create(model=MODEL, messages=ASK, tools=[WEATHER], tool_choice="required")
    call = answer.choices[0].message.tool_calls[0]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "get_weather" and call.function.arguments == '{"city":"value"}', call
    follow = ASK + [
        answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    after = client.chat.completions.create(model=MODEL, messages=follow, tools=[WEATHER])
    assert after.choices[0].finish_reason == "stop", after


def tools_streamed(client):
    for mode, count in (("single", 1), ("parallel", 2), ("interleaved", 2)):
        with client.chat.completions.stream(
            model=MODEL, messages=ASK, tools=[WEATHER], user=f"emu:tools={mode}"
        ) as stream:
            final = stream.get_final_completion()
        calls = final.choices[0].message.tool_calls
        assert [call.function.arguments for call in calls] == ['{"city":"value"}'] * count, calls
        assert len({call.id for call in calls}) == count


def choices(client):
    answer = client.chat.completions.create(model=MODEL, messages=ASK, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]


def structured(client):
    schema = {"type": "object", "properties": {"height_m": {"type": "number"}}, "required": ["height_m"]}
    answer = client.chat.completions.create(
        model=MODEL,
        messages=ASK,
        response_format={"type": "json_schema", "json_schema": {"name": "tide", "schema": schema}},
    )
    assert answer.choices[0].message.content == '{"height_m":1}', answer


def embeddings(client):
    answer = client.embeddings.create(model="text-embedding-3-small", input=["one", "two words"], dimensions=64)
    assert [len(row.embedding) for row in answer.data] == [64, 64]
    assert answer.usage.prompt_tokens == 3, answer.usage


def models(client):
    assert MODEL in [model.id for model in client.models.list()]
    name = "meta-llama/Llama-3.3-70B-Instruct"
    assert client.models.retrieve(name).id == name


def fails_with(kind, code, call):
    try:
        call()
    except kind as error:
        assert error.code == code, error
        assert error.request_id, error
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def errors(client):
    def ask(**changes):
        return client.chat.completions.create(**({"model": MODEL, "messages": ASK} | changes))

    wrong = client.with_options(api_key="sk-wrong-key-000000000000")
    fails_with(openai.AuthenticationError, "invalid_api_key", lambda: wrong.models.list())
    fails_with(openai.NotFoundError, "model_not_found", lambda: ask(model="gpt-none"))
    fails_with(openai.BadRequestError, None, lambda: ask(extra_body={"surprise": 1}))
    error = fails_with(openai.BadRequestError, "unsupported_parameter", lambda: ask(model="gpt-5-mini", max_tokens=5))
    assert error.param == "max_tokens"
    limited = client.with_options(max_retries=0)
    fails_with(
        openai.RateLimitError,
        "rate_limit_exceeded",
        lambda: limited.chat.completions.create(model=MODEL, messages=ASK, user="emu:status=429"),
    )
    fails_with(
        openai.RateLimitError,
        "insufficient_quota",
        lambda: limited.chat.completions.create(model=MODEL, messages=ASK, user="emu:status=429,code=insufficient_quota"),
    )
    fails_with(
        openai.InternalServerError,
        "server_is_overloaded",
        lambda: limited.chat.completions.create(model=MODEL, messages=ASK, user="emu:status=503"),
    )


def retries(client):
    """The test has queued two failures; the SDK tries three times."""
    answer = client.chat.completions.create(model=MODEL, messages=ASK)
    assert answer.choices[0].finish_reason == "stop"


def broken_stream(client):
    """What a cut does to a reader: an error, never a silent end."""
    stream = client.chat.completions.create(model=MODEL, messages=ASK, stream=True, user="emu:chunks=20,cut=5")
    read = 0
    try:
        for _ in stream:
            read += 1
    except Exception as error:
        assert read == 5, read
        assert not isinstance(error, AssertionError)
        return
    raise AssertionError(f"the stream ended silently after {read} chunks")


def error_event(client):
    stream = client.chat.completions.create(model=MODEL, messages=ASK, stream=True, user="emu:error_event=3,code=boom")
    try:
        list(stream)
    except openai.APIError as error:
        assert error.code == "boom", error
        return
    raise AssertionError("the error event was not raised")


CASES = [
    buffered,
    streamed,
    include_usage,
    tools,
    tools_streamed,
    choices,
    structured,
    embeddings,
    models,
    errors,
    broken_stream,
    error_event,
]


def main():
    base_url, key, *names = sys.argv[1:]
    wanted = [globals()[name] for name in names] or CASES
    client = OpenAI(base_url=base_url, api_key=key, timeout=20)
    for case in wanted:
        case(client)
        print("ok", case.__name__, flush=True)


main()
