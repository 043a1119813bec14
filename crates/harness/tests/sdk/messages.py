"""Drives an Anthropic-compatible server with the official Python SDK and checks what a user of it would see.

usage: messages.py BASE_URL KEY [CASE ...]
"""

import sys

import anthropic
from anthropic import Anthropic

MODEL = "claude-sonnet-4-6"
QUESTION = "Tell me about tides, né 漢字 🙂"
SAID = f"You said: {QUESTION}"
ASK = [{"role": "user", "content": QUESTION}]
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
THINKING = {"type": "enabled", "budget_tokens": 1024}


def request(**changes):
    return {"model": MODEL, "max_tokens": 4000, "messages": ASK} | changes


def script(text):
    return {"user_id": f"emu:{text}"}


def buffered(client):
    answer = client.messages.create(**request(system="Be brief."))
    assert answer.type == "message" and answer.role == "assistant", answer
    assert [(block.type, block.text) for block in answer.content] == [("text", SAID)], answer
    assert answer.stop_reason == "end_turn" and answer.stop_details is None
    assert answer.usage.output_tokens > 0 and answer.usage.cache_creation.ephemeral_1h_input_tokens == 0
    assert answer.usage.service_tier == "standard"
    raw = client.messages.with_raw_response.create(**request())
    assert raw.headers["request-id"] == raw.parse()._request_id, raw.headers
    assert int(raw.headers["anthropic-ratelimit-requests-limit"]) > 0


def streamed(client):
    with client.messages.stream(**request()) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == SAID and final.content[0].text == SAID, final
    whole = client.messages.create(**request())
    assert final.usage.model_dump() == whole.usage.model_dump(), final.usage
    kinds = [event.type for event in client.messages.create(**request(), stream=True)]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds


def tools(client):
    for streams in (False, True):
        ask = request(tools=[WEATHER], tool_choice={"type": "any"})
        answer = final_of(client, ask) if streams else client.messages.create(**ask)
        assert answer.stop_reason == "tool_use", answer
        call = answer.content[0]
        assert (call.name, call.input) == ("get_weather", {"city": "value"}), call
        follow = ASK + [
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
        ]
        after = client.messages.create(**request(messages=follow, tools=[WEATHER]))
        assert after.stop_reason == "end_turn", after


def final_of(client, ask):
    with client.messages.stream(**ask) as stream:
        return stream.get_final_message()


def parallel_tools(client):
    for mode in ("parallel", "interleaved"):
        ask = request(tools=[WEATHER], metadata=script(f"tools={mode}"))
        answer = final_of(client, ask)
        assert [call.input for call in answer.content] == [{"city": "value"}] * 2, answer
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "x"} for call in answer.content]
        follow = ASK + [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
        assert client.messages.create(**request(messages=follow, tools=[WEATHER])).stop_reason == "end_turn"


def thinking_loop(client):
    """Thinking goes back as it came, streamed or not; altered or left out, it is refused."""
    for streams in (False, True):
        named = [{"role": "user", "content": "use get_weather"}]
        ask = request(messages=named, tools=[WEATHER], thinking=THINKING, metadata=script("redacted"))
        answer = final_of(client, ask) if streams else client.messages.create(**ask)
        thought, opaque, call = answer.content
        assert thought.thinking and thought.signature and opaque.data, answer
        assert answer.usage.output_tokens_details.thinking_tokens == 16, answer.usage
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]}

        def back(blocks):
            follow = named + [{"role": "assistant", "content": blocks}, result]
            return client.messages.create(**request(messages=follow, tools=[WEATHER], thinking=THINKING))

        assert back(answer.content).stop_reason == "end_turn"
        altered = thought.model_copy(update={"thinking": "else"})
        for blocks in ([call], [thought, call], [altered, opaque, call]):
            fails_with(anthropic.BadRequestError, "invalid_request_error", lambda: back(blocks))


def refusal(client):
    for answer in (
        client.messages.create(**request(metadata=script("refusal"))),
        final_of(client, request(metadata=script("refusal"))),
    ):
        assert answer.stop_reason == "refusal" and answer.stop_details.type == "refusal", answer


def limits(client):
    cut = client.messages.create(**request(max_tokens=2))
    assert cut.stop_reason == "max_tokens" and cut.usage.output_tokens == 2, cut
    stopped = final_of(client, request(stop_sequences=["tides"]))
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "tides"), stopped


def structured(client):
    schema = {
        "type": "object",
        "properties": {"height_m": {"type": "number"}},
        "required": ["height_m"],
        "additionalProperties": False,
    }
    answer = client.messages.create(**request(output_config={"format": {"type": "json_schema", "schema": schema}}))
    assert answer.content[0].text == '{"height_m":1}', answer


def cached(client):
    long = [{"type": "text", "text": " tide" * 2000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first = client.messages.create(**request(system=long)).usage
    second = final_of(client, request(system=long)).usage
    assert first.cache_creation.ephemeral_1h_input_tokens == first.cache_creation_input_tokens > 2000, first
    assert (first.cache_read_input_tokens, second.cache_creation_input_tokens) == (0, 0)
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens, second
    assert second.input_tokens == first.input_tokens


def count_tokens(client):
    counted = client.messages.count_tokens(model=MODEL, messages=ASK, tools=[WEATHER])
    assert counted.input_tokens == client.messages.create(**request(tools=[WEATHER])).usage.input_tokens, counted


def models(client):
    ids = [model.id for model in client.models.list(limit=2)]
    assert MODEL in ids and len(ids) == len(set(ids)) > 2, ids
    row = client.models.retrieve(MODEL)
    assert row.id == MODEL and row.capabilities.thinking.supported and row.max_input_tokens == 200_000


def fails_with(kind, error_type, call):
    try:
        call()
    except kind as error:
        assert error.body["error"]["type"] == error_type, error
        assert error.request_id == error.body["request_id"], error
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def errors(client):
    once = client.with_options(max_retries=0)

    def ask(**changes):
        return once.messages.create(**request(**changes))

    wrong = client.with_options(api_key="sk-wrong-key-000000000000")
    fails_with(anthropic.AuthenticationError, "authentication_error", lambda: wrong.models.list())
    fails_with(anthropic.NotFoundError, "not_found_error", lambda: ask(model="claude-none"))
    for body in ({"surprise": 1}, {"temperature": 1.0}):
        fails_with(anthropic.BadRequestError, "invalid_request_error", lambda: ask(extra_body=body))
    for status, kind, error_type in (
        (402, anthropic.PaymentRequiredError, "billing_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (409, anthropic.ConflictError, "conflict_error"),
        (413, anthropic.ContentTooLargeError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (504, anthropic.GatewayTimeoutError, "timeout_error"),
        (529, anthropic.OverloadedError, "overloaded_error"),
    ):
        fails_with(kind, error_type, lambda: ask(metadata=script(f"status={status}")))


def retries(client):
    """The test has queued two failures; the SDK tries three times."""
    assert client.messages.create(**request()).stop_reason == "end_turn"


def broken_stream(client):
    """What a cut does to a reader: an error, never a silent end."""
    stream = client.messages.create(**request(metadata=script("chunks=20,cut=8")), stream=True)
    read = 0
    try:
        for _ in stream:
            read += 1
    except Exception as error:
        assert not isinstance(error, AssertionError)
        # The SDK does not pass the ping on.
        assert read in (7, 8), read
        return
    raise AssertionError(f"the stream ended silently after {read} events")


def error_event(client):
    stream = client.messages.create(**request(metadata=script("error_event=4")), stream=True)
    try:
        list(stream)
    except anthropic.APIStatusError as error:
        assert error.body["error"]["type"] == "overloaded_error", error
        return
    raise AssertionError("the error event was not raised")


CASES = [
    buffered,
    streamed,
    tools,
    parallel_tools,
    thinking_loop,
    refusal,
    limits,
    structured,
    cached,
    count_tokens,
    models,
    errors,
    broken_stream,
    error_event,
]


def main():
    base_url, key, *names = sys.argv[1:]
    wanted = [globals()[name] for name in names] or CASES
    client = Anthropic(base_url=base_url, api_key=key, timeout=20)
    for case in wanted:
        case(client)
        print("ok", case.__name__, flush=True)


main()
