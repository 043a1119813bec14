"""Drives a Gemini server with the official Python SDK and checks what a user of it would see.

usage: gemini.py ORIGIN KEY [CASE ...]
"""

import sys

from google import genai
from google.genai import errors as failures
from google.genai import types

OLD, MIDDLE, NEW = "gemini-2.0-flash", "gemini-2.5-flash", "gemini-3-pro-preview"
EMBEDDING = "gemini-embedding-001"
ASK = "Tell me about tides, né 漢字 🙂"
SAID = f"You said: {ASK}"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = types.Tool(
    function_declarations=[types.FunctionDeclaration(name="get_weather", parameters_json_schema=CITY)]
)
LONG = "tide " * 5000


def scripted(script, **more):
    return types.GenerateContentConfig(labels={"emulate": script}, **more)


def buffered(client):
    answer = client.models.generate_content(model=MIDDLE, contents=ASK)
    candidate = answer.candidates[0]
    assert answer.text == SAID, answer.text
    assert candidate.finish_reason == types.FinishReason.STOP, candidate
    assert candidate.content.role == "model" and candidate.index == 0
    usage = answer.usage_metadata
    parts = usage.prompt_token_count + usage.candidates_token_count + usage.thoughts_token_count
    assert usage.total_token_count == parts, usage
    assert usage.prompt_tokens_details[0].modality == types.MediaModality.TEXT
    assert usage.cached_content_token_count is None
    assert answer.model_version == MIDDLE and answer.response_id.startswith("emulator")
    assert answer.sdk_http_response.headers["x-gemini-service-tier"] == "standard"


def streamed(client):
    chunks = list(client.models.generate_content_stream(model=NEW, contents=ASK))
    assert "".join(chunk.text or "" for chunk in chunks) == SAID
    assert [bool(chunk.candidates[0].finish_reason) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    totals = [chunk.usage_metadata.total_token_count for chunk in chunks]
    assert totals == sorted(totals) and len({chunk.response_id for chunk in chunks}) == 1
    assert chunks[-1].usage_metadata.thoughts_token_count == 16
    assert chunks[-1].candidates[0].content.parts[0].thought_signature


def options(client):
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        temperature=0.2,
        top_k=40,
        stop_sequences=["tides"],
        max_output_tokens=50,
        safety_settings=[
            types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_ONLY_HIGH")
        ],
        thinking_config=types.ThinkingConfig(thinking_level="low", include_thoughts=True),
        service_tier="priority",
    )
    answer = client.models.generate_content(model=NEW, contents=ASK, config=config)
    thought, said = answer.candidates[0].content.parts
    assert thought.thought and thought.text, thought
    assert said.text == "You said: Tell me about " and not said.thought, said
    assert answer.sdk_http_response.headers["x-gemini-service-tier"] == "priority"


def tools(client):
    """A loop by hand: parallel calls whose first is signed, and a second step."""
    for model in (OLD, NEW):
        config = scripted("tools=parallel", tools=[WEATHER])
        asked = [types.Content(role="user", parts=[types.Part(text=ASK)])]
        answer = client.models.generate_content(model=model, contents=asked, config=config)
        calls = answer.function_calls
        assert [call.args for call in calls] == [{"city": "value"}] * 2, calls
        signed = [bool(part.thought_signature) for part in answer.candidates[0].content.parts]
        assert signed == ([True, False] if model == NEW else [False, False]), signed
        results = [
            types.Part(
                function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": "sunny"})
            )
            for call in calls
        ]
        history = asked + [answer.candidates[0].content, types.Content(role="user", parts=results)]
        after = client.models.generate_content(
            model=model, contents=history, config=types.GenerateContentConfig(tools=[WEATHER])
        )
        assert after.text == SAID, after


def tools_streamed(client):
    for mode, count in (("single", 1), ("parallel", 2), ("interleaved", 2)):
        config = scripted(f"tools={mode}", tools=[WEATHER])
        chunks = list(client.models.generate_content_stream(model=NEW, contents=ASK, config=config))
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
        calls = [part.function_call for part in parts if part.function_call]
        assert [call.args for call in calls] == [{"city": "value"}] * count, calls
        assert len([part for part in parts if part.function_call and part.thought_signature]) == 1
        assert len({call.id for call in calls}) == count


def automatic(client):
    """The SDK's own loop sends the signature back as it came."""

    def get_weather(city: str) -> str:
        """The weather in a city."""
        return "sunny in " + city

    for model in (MIDDLE, NEW):
        config = types.GenerateContentConfig(tools=[get_weather])
        answer = client.models.generate_content(model=model, contents="Please call get_weather", config=config)
        assert answer.text == "You said: Please call get_weather", answer
        assert len(answer.automatic_function_calling_history) == 3


def chat(client):
    """What the streaming chat helper puts together is a history that the provider takes."""
    talk = client.chats.create(model=NEW)
    for question in ("one", "two"):
        said = "".join(chunk.text or "" for chunk in talk.send_message_stream(question))
        assert said == f"You said: {question}", said


def signatures(client):
    config = types.GenerateContentConfig(tools=[WEATHER])
    asked = [types.Content(role="user", parts=[types.Part(text=ASK)])]
    step = client.models.generate_content(model=NEW, contents=asked, config=scripted("tools=single", tools=[WEATHER]))
    call = step.candidates[0].content.parts[0]
    result = types.Part(
        function_response=types.FunctionResponse(
            id=call.function_call.id, name="get_weather", response={"output": "sunny"}
        )
    )

    def ask(signature):
        part = call.model_copy(update={"thought_signature": signature})
        history = asked + [types.Content(role="model", parts=[part]), types.Content(role="user", parts=[result])]
        return client.models.generate_content(model=NEW, contents=history, config=config)

    assert ask(call.thought_signature).text == SAID
    assert ask(b"skip_thought_signature_validator").text == SAID
    for signature, why in ((None, "missing a thought_signature"), (b"\x12\x20altered", "Corrupted")):
        error = fails(400, "INVALID_ARGUMENT", lambda: ask(signature))
        assert why in error.message, error


def candidates(client):
    config = types.GenerateContentConfig(candidate_count=3)
    answer = client.models.generate_content(model=MIDDLE, contents=ASK, config=config)
    assert [candidate.index for candidate in answer.candidates] == [0, 1, 2]
    chunks = list(client.models.generate_content_stream(model=MIDDLE, contents=ASK, config=config))
    assert {candidate.index for chunk in chunks for candidate in chunk.candidates} == {0, 1, 2}


def structured(client):
    schema = {"type": "OBJECT", "properties": {"height_m": {"type": "NUMBER"}}, "required": ["height_m"]}
    json_schema = {"type": "object", "properties": {"height_m": {"type": "number"}}}
    for form in ({"response_schema": schema}, {"response_json_schema": json_schema}):
        config = types.GenerateContentConfig(response_mime_type="application/json", **form)
        answer = client.models.generate_content(model=MIDDLE, contents=ASK, config=config)
        assert answer.text == '{"height_m":1}', answer
        assert answer.parsed == {"height_m": 1}, answer.parsed
    config = types.GenerateContentConfig(
        response_mime_type="text/x.enum", response_schema={"type": "STRING", "enum": ["EBB", "FLOOD"]}
    )
    assert client.models.generate_content(model=MIDDLE, contents=ASK, config=config).text == "EBB"


def endings(client):
    def ended(script, model=MIDDLE, **more):
        answer = client.models.generate_content(model=model, contents=ASK, config=scripted(script, **more))
        return answer, answer.candidates[0].finish_reason.value

    answer, reason = ended("", max_output_tokens=18)
    assert reason == "MAX_TOKENS" and answer.usage_metadata.candidates_token_count == 2, answer
    answer, reason = ended("finish=SAFETY")
    assert reason == "SAFETY" and answer.candidates[0].content is None and answer.text is None
    answer, reason = ended("finish=MALFORMED_FUNCTION_CALL")
    assert reason == "MALFORMED_FUNCTION_CALL" and not answer.candidates[0].content.parts
    for reason in ("SAFETY", "MALFORMED_FUNCTION_CALL", "RECITATION"):
        chunks = list(
            client.models.generate_content_stream(model=NEW, contents=ASK, config=scripted(f"finish={reason}"))
        )
        assert chunks[-1].candidates[0].finish_reason.value == reason
    blocked = client.models.generate_content(model=NEW, contents=ASK, config=scripted("refusal,code=SAFETY"))
    assert blocked.candidates is None and blocked.prompt_feedback.block_reason.value == "SAFETY"
    assert blocked.usage_metadata.total_token_count == blocked.usage_metadata.prompt_token_count
    (chunk,) = client.models.generate_content_stream(model=NEW, contents=ASK, config=scripted("refusal"))
    assert chunk.prompt_feedback.block_reason.value == "PROHIBITED_CONTENT"


def counting(client):
    counted = client.models.count_tokens(model=MIDDLE, contents=ASK)
    answer = client.models.generate_content(model=MIDDLE, contents=ASK)
    assert counted.total_tokens == answer.usage_metadata.prompt_token_count


def embeddings(client):
    config = types.EmbedContentConfig(output_dimensionality=64, task_type="RETRIEVAL_QUERY")
    answer = client.models.embed_content(model=EMBEDDING, contents=["one", "two words"], config=config)
    assert [len(row.values) for row in answer.embeddings] == [64, 64]
    again = client.models.embed_content(model=EMBEDDING, contents="one", config=config)
    assert again.embeddings[0].values == answer.embeddings[0].values


def models(client):
    names = [model.name for model in client.models.list(config={"page_size": 2})]
    assert names == [f"models/{name}" for name in (NEW, MIDDLE, OLD, EMBEDDING)], names
    row = client.models.get(model=NEW)
    assert row.name == f"models/{NEW}" and "generateContent" in row.supported_actions and row.thinking, row


def caches(client):
    made = client.caches.create(
        model=NEW,
        config=types.CreateCachedContentConfig(
            contents=LONG, system_instruction="Be brief.", tools=[WEATHER], ttl="300s", display_name="tides"
        ),
    )
    assert made.name.startswith("cachedContents/") and made.usage_metadata.total_token_count > 4096, made
    config = types.GenerateContentConfig(cached_content=made.name)
    answer = client.models.generate_content(model=NEW, contents=ASK, config=config)
    usage = answer.usage_metadata
    assert usage.cached_content_token_count == made.usage_metadata.total_token_count
    assert usage.prompt_token_count > usage.cached_content_token_count
    longer = client.caches.update(name=made.name, config=types.UpdateCachedContentConfig(ttl="600s"))
    assert longer.expire_time > made.expire_time
    assert client.caches.get(name=made.name).display_name == "tides"
    assert [cache.name for cache in client.caches.list()] == [made.name]
    both = types.GenerateContentConfig(cached_content=made.name, system_instruction="More.")
    error = fails(400, "INVALID_ARGUMENT", lambda: client.models.generate_content(model=NEW, contents=ASK, config=both))
    assert "can not be used" in error.message
    client.caches.delete(name=made.name)
    fails(403, "PERMISSION_DENIED", lambda: client.models.generate_content(model=NEW, contents=ASK, config=config))


def implicit_cache(client):
    first, second = (client.models.generate_content(model=MIDDLE, contents=LONG).usage_metadata for _ in "12")
    assert first.cached_content_token_count is None
    assert 2048 < second.cached_content_token_count < second.prompt_token_count
    assert second.cache_tokens_details[0].token_count == second.cached_content_token_count


def fails(code, status, call):
    try:
        call()
    except failures.APIError as error:
        assert (error.code, error.status) == (code, status), error
        return error
    raise AssertionError(f"{code} {status} was not raised")


def errors(client):
    def ask(config=None, **changes):
        return client.models.generate_content(**({"model": MIDDLE, "contents": ASK, "config": config} | changes))

    wrong = other(client, "wrong-key")
    error = fails(400, "INVALID_ARGUMENT", lambda: wrong.models.generate_content(model=MIDDLE, contents=ASK))
    assert error.details["error"]["details"][0]["reason"] == "API_KEY_INVALID", error.details
    fails(404, "NOT_FOUND", lambda: ask(model="gemini-none"))
    fails(404, "NOT_FOUND", lambda: ask(model=EMBEDDING))
    surprise = types.GenerateContentConfig(http_options=types.HttpOptions(extra_body={"surprise": 1}))
    error = fails(400, "INVALID_ARGUMENT", lambda: ask(surprise))
    assert error.message == 'Invalid JSON payload received. Unknown name "surprise": Cannot find field.', error
    error = fails(429, "RESOURCE_EXHAUSTED", lambda: ask(scripted("status=429,retry_after_ms=34070")))
    assert error.details["error"]["details"][0]["retryDelay"] == "34.07s", error.details
    fails(503, "UNAVAILABLE", lambda: ask(scripted("status=503")))
    error = fails(429, "RESOURCE_EXHAUSTED", lambda: stream(client, "status=429,code=insufficient_quota"))
    assert "quota" in error.message and isinstance(error, failures.ClientError)
    assert isinstance(fails(500, "INTERNAL", lambda: stream(client, "status=500")), failures.ServerError)


def stream(client, script):
    return list(client.models.generate_content_stream(model=MIDDLE, contents=ASK, config=scripted(script)))


def broken_stream(client):
    """What a cut does to a reader: an error, never a silent end."""
    read = 0
    try:
        for _ in client.models.generate_content_stream(model=MIDDLE, contents=ASK, config=scripted("chunks=20,cut=5")):
            read += 1
    except Exception as error:
        assert read == 5, read
        assert not isinstance(error, AssertionError)
        return
    raise AssertionError(f"the stream ended silently after {read} chunks")


def error_chunk(client):
    error = fails(503, "UNAVAILABLE", lambda: stream(client, "error_event=3,code=UNAVAILABLE"))
    assert "overloaded" in error.message


def other(client, key):
    base_url = client._api_client._http_options.base_url
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base_url, timeout=20_000))


CASES = [
    buffered,
    streamed,
    options,
    tools,
    tools_streamed,
    automatic,
    chat,
    signatures,
    candidates,
    structured,
    endings,
    counting,
    embeddings,
    models,
    caches,
    implicit_cache,
    errors,
    broken_stream,
    error_chunk,
]


def main():
    origin, key, *names = sys.argv[1:]
    wanted = [globals()[name] for name in names] or CASES
    client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=origin, timeout=20_000))
    for case in wanted:
        case(client)
        print("ok", case.__name__, flush=True)


main()
