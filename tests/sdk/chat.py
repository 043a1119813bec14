"""Drives a gateway with the official Python SDK, unmodified, and checks what an application would see.

usage: chat.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held, and `request_id CASE ID` for ids that the SDK showed.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import openai
from openai import OpenAI

MODEL = "openai/gpt-4o-mini"
LIMITED = "limited/acme-large"
BROKEN = "broken/acme-large"
ASK = [{"role": "user", "content": "Tell me about tides, né 漢字 🙂"}]
SAID = "You said: Tell me about tides, né 漢字 🙂"
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


def show(case, request_id):
    assert request_id and request_id.startswith("trc_"), request_id
    print("request_id", case, request_id, flush=True)


def buffered(client):
    answer = client.chat.completions.create(model=MODEL, messages=ASK)
    choice = answer.choices[0]
    assert choice.message.content == SAID, choice
    assert choice.finish_reason == "stop", choice
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    show("buffered", answer._request_id)


def streamed(client):
    chunks = list(client.chat.completions.create(model=MODEL, messages=ASK, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def include_usage(client):
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model=MODEL, messages=ASK, stream=True, stream_options=options))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0, chunks[-1]
    assert all(chunk.usage is None for chunk in chunks[:-1])


def tools(client):
    answer = client.chat.completions.create(model=MODEL, messages=ASK, tools=[WEATHER], tool_choice="required")
    call = answer.choices[0].message.tool_calls[0]
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


def models(client):
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL


def fails_with(case, kind, code, call):
    try:
        call()
    except kind as error:
        assert type(error) is kind, type(error)
        assert error.code == code, (error.code, error)
        assert error.request_id in str(error), error
        show(case, error.request_id)
        return error
    raise AssertionError(f"{case}: {kind.__name__} was not raised")


def errors(client):
    def ask(client=client, **changes):
        return lambda: client.chat.completions.create(**({"model": MODEL, "messages": ASK} | changes))

    wrong = client.with_options(api_key="tg_live_wrong")
    fails_with("authentication", openai.AuthenticationError, "invalid_api_key", ask(wrong))
    reader = client.with_options(api_key=sys.argv[3])
    fails_with("permission", openai.PermissionDeniedError, "insufficient_scope", ask(reader))
    fails_with("not_found", openai.NotFoundError, "model_not_found", ask(model="gpt-none"))
    error = fails_with("bad_request", openai.BadRequestError, "invalid_type", ask(extra_body={"messages": "hello"}))
    assert error.param == "messages", error.param
    fails_with("upstream_bad_request", openai.BadRequestError, None, ask(extra_body={"surprise": 1}))
    limited = client.with_options(max_retries=0)
    error = fails_with(
        "rate_limit", openai.RateLimitError, "rate_limit_exceeded",
        ask(limited, model=LIMITED, user="emu:status=429,retry_after=30"),
    )
    assert 25 <= int(error.response.headers["retry-after"]) <= 30, error.response.headers


def retries(client):
    """The gateway has tried for itself and says so: the SDK, which tries twice more by default, must not."""
    error = fails_with(
        "no_retry", openai.InternalServerError, "upstream_error",
        lambda: client.chat.completions.create(model=BROKEN, messages=ASK, user="emu:status=500"),
    )
    assert error.status_code == 502 and error.response.headers["x-should-retry"] == "false", error.response.headers


def broken_stream(client):
    """An answer that breaks off is an error for its reader, never a silent end."""
    stream = client.chat.completions.create(model=MODEL, messages=ASK, stream=True, user="emu:chunks=20,cut=5")
    try:
        read = sum(1 for _ in stream)
    except openai.APIError as error:
        assert error.code == "upstream_answer_broken", (error.code, error)
        return
    raise AssertionError(f"the stream ended silently after {read} chunks")


def idempotent(client):
    """Sent four times at once, it is answered once: the SDK waits for the others by itself. Of itself it sends no key."""
    def ask(key, **more):
        headers = {"Idempotency-Key": key} if key else {}
        create = client.with_options(max_retries=8).chat.completions.with_raw_response.create
        return create(**({"model": MODEL, "messages": ASK, "extra_headers": headers} | more))

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask("python", user="emu:latency=500"), range(4)))
    assert len({answer.headers["x-request-id"] for answer in answers}) == 1
    assert len({answer.text for answer in answers}) == 1
    replays = sorted(answer.headers["agent-idempotent-replay"] for answer in answers)
    assert replays == ["false", "true", "true", "true"], replays
    fails_with("conflict", openai.ConflictError, "idempotency_conflict", lambda: ask("python"))
    streams = [list(ask("python-stream", stream=True).parse()) for _ in range(2)]
    assert streams[0] == streams[1]
    assert "agent-idempotent-replay" not in ask(None).headers


CASES = [buffered, streamed, include_usage, tools, tools_streamed, models, errors, retries, broken_stream, idempotent]


def main():
    client = OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], timeout=20)
    for case in CASES:
        case(client)
        print("ok", case.__name__, flush=True)


main()
