"""Drives the Responses, completions and moderations endpoints with the official Python SDK.

usage: responses.py BASE_URL KEY [CASE ...]
"""

import sys

import openai
from openai import OpenAI
from pydantic import BaseModel

MODEL = "gpt-4o-mini"
THINKER = "gpt-5-mini"
ASK = "Tell me about tides, né 漢字 🙂"
SAID = "You said: Tell me about tides, né 漢字 🙂"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


def final(client, **wanted):
    with client.responses.stream(**{"model": MODEL, "input": ASK, **wanted}) as stream:
        kinds = [event.type for event in stream]
        return kinds, stream.get_final_response()


def fails(kind, code, call):
    try:
        call()
    except kind as error:
        assert error.code == code, (error.code, code)
        return error
    raise AssertionError("nothing was refused")


def buffered(client):
    answer = client.responses.create(model=MODEL, input=ASK, instructions="Be brief.")
    assert answer.output_text == SAID, answer.output_text
    assert answer.status == "completed" and answer.error is None
    usage = answer.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.input_tokens_details.cached_tokens == 0
    assert answer.instructions == "Be brief."


def streamed(client):
    events = list(client.responses.create(model=MODEL, input=ASK, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ], kinds
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ], kinds
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == SAID
    _, answer = final(client)
    assert answer.output_text == SAID and answer.usage.output_tokens == len(deltas)


def tool_loop(client):
    asked = [{"role": "user", "content": "use get_weather"}]
    for options in ({}, {"store": False, "include": ["reasoning.encrypted_content"]}):
        options = {"model": THINKER, "tools": [WEATHER], **options}
        answer = client.responses.create(input=asked, **options)
        assert [item.type for item in answer.output] == ["reasoning", "function_call"]
        call = answer.output[1]
        assert call.arguments == '{"city":"value"}', call
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        after = client.responses.create(input=[*asked, *answer.output, output], **options)
        assert after.output[-1].type == "message", after.output


def tools_streamed(client):
    for mode, count in (("single", 1), ("parallel", 2), ("interleaved", 2)):
        kinds, answer = final(client, tools=[WEATHER], user=f"emu:tools={mode}")
        calls = [item for item in answer.output if item.type == "function_call"]
        assert [call.arguments for call in calls] == ['{"city":"value"}'] * count, calls
        assert kinds.count("response.function_call_arguments.done") == count, kinds
    custom = {"type": "custom", "name": "note"}
    kinds, answer = final(client, tools=[custom], tool_choice="required")
    assert answer.output[0].input == "free text", answer.output
    assert "response.custom_tool_call_input.delta" in kinds, kinds


def reasoning(client):
    kinds, answer = final(client, model=THINKER, reasoning={"effort": "low", "summary": "auto"})
    thought, message = answer.output
    assert thought.summary[0].text and message.content[0].text == SAID
    assert "response.reasoning_summary_text.delta" in kinds, kinds
    assert answer.usage.output_tokens_details.reasoning_tokens > 0


def parsed(client):
    class Weather(BaseModel):
        city: str
        degrees: int

    answer = client.responses.parse(model=MODEL, input=ASK, text_format=Weather)
    assert answer.output_parsed == Weather(city="value", degrees=1), answer.output_parsed


def refusal_and_length(client):
    _, answer = final(client, user="emu:refusal")
    assert answer.output[0].content[0].refusal == SAID
    answer = client.responses.create(model=MODEL, input=ASK, max_output_tokens=16, user="emu:tokens=40")
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage.output_tokens == 16


def logprobs(client):
    answer = client.responses.create(model=MODEL, input=ASK, include=["message.output_text.logprobs"])
    part = answer.output[0].content[0]
    assert "".join(one.token for one in part.logprobs) == part.text == SAID


def conversation(client):
    first = client.responses.create(model=MODEL, input="The sea is wide")
    second = client.responses.create(model=MODEL, input="and deep", previous_response_id=first.id)
    assert second.usage.input_tokens > first.usage.input_tokens
    assert client.responses.retrieve(second.id).output_text == "You said: and deep"
    items = list(client.responses.input_items.list(second.id))
    assert [item.content[0].text for item in items] == ["and deep"], items
    client.responses.delete(first.id)
    fails(openai.NotFoundError, None, lambda: client.responses.retrieve(first.id))
    code = "previous_response_not_found"
    fails(
        openai.BadRequestError,
        code,
        lambda: client.responses.create(model=MODEL, input="x", previous_response_id=second.id),
    )


def background(client):
    answer = client.responses.create(model=MODEL, input=ASK, background=True)
    seen = [answer.status]
    while answer.status in ("queued", "in_progress"):
        answer = client.responses.retrieve(answer.id)
        seen.append(answer.status)
    assert seen == ["queued", "in_progress", "completed"], seen
    assert answer.output_text == SAID
    again = client.responses.create(model=MODEL, input=ASK, background=True)
    assert client.responses.cancel(again.id).status == "cancelled"
    assert client.responses.retrieve(again.id).status == "cancelled"


def resumed(client):
    seen, stream = [], client.responses.create(model=MODEL, input=ASK, background=True, stream=True)
    for event in stream:
        seen.append(event)
        if len(seen) == 5:
            break
    stream.close()
    made = seen[0].response
    assert made.status == "queued" and made.background
    after = seen[-1].sequence_number
    rest = list(client.responses.retrieve(made.id, stream=True, starting_after=after))
    numbers = [event.sequence_number for event in [*seen, *rest]]
    assert numbers == list(range(len(numbers))), numbers
    assert rest[-1].type == "response.completed" and rest[-1].response.output_text == SAID
    assert list(client.responses.retrieve(made.id, stream=True, starting_after=numbers[-1])) == []


def stored(client):
    made = client.responses.create(model=MODEL, input=[{"role": "user", "content": word} for word in "abc"])
    listed = client.responses.input_items.list
    texts = lambda items: [item.content[0].text if isinstance(item.content, list) else item.content for item in items]
    assert texts(listed(made.id)) == ["c", "b", "a"]
    page = listed(made.id, order="asc", limit=2)
    assert texts(page.data) == ["a", "b"] and page.has_more
    assert texts(listed(made.id, order="asc", after=page.last_id)) == ["c"]
    include = ["message.output_text.logprobs"]
    assert client.responses.retrieve(made.id, include=include).id == made.id
    error = fails(openai.BadRequestError, None, lambda: client.responses.cancel(made.id))
    assert "Cannot cancel a synchronous response." in error.message
    deleted = client.responses.with_raw_response.delete(made.id).http_response.json()
    assert deleted == {"id": made.id, "object": "response", "deleted": True}, deleted
    unkept = client.responses.create(model=MODEL, input=ASK, store=False)
    for gone in (made.id, unkept.id, "resp_none"):
        for ask in (client.responses.retrieve, listed, client.responses.delete, client.responses.cancel):
            fails(openai.NotFoundError, None, lambda: ask(gone))


def errors(client):
    create = client.responses.create
    error = fails(
        openai.BadRequestError,
        "unknown_parameter",
        lambda: create(model=MODEL, input=ASK, extra_body={"top_k": 5}),
    )
    assert error.message.find("Unknown parameter: 'top_k'.") >= 0, error
    fails(openai.NotFoundError, "model_not_found", lambda: create(model="none", input=ASK))
    try:
        list(create(model=MODEL, input=ASK, stream=True, user="emu:error_event=5,code=slow_down"))
    except openai.APIError as error:
        assert error.code == "slow_down", error
    else:
        raise AssertionError("the error event passed")
    events = list(create(model=MODEL, input=ASK, stream=True, user="emu:failed=mid"))
    assert events[-1].type == "response.failed", events[-1]
    assert events[-1].response.error.code == "server_error", events[-1]


def moderations(client):
    answer = client.moderations.create(input=["a calm sea", "I will kill it"])
    assert [one.flagged for one in answer.results] == [False, True]
    assert answer.results[1].categories.violence and not answer.results[1].categories.hate
    seen = client.moderations.create(
        model="omni-moderation-latest",
        input=[
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        ],
    )
    assert seen.results[0].category_applied_input_types.violence == ["text", "image"]


def completions(client):
    wanted = {"model": "gpt-3.5-turbo-instruct", "prompt": "the tide"}
    answer = client.completions.create(**wanted, logprobs=1, echo=True)
    assert answer.choices[0].text == "the tideYou said: the tide", answer.choices[0].text
    assert answer.choices[0].logprobs.text_offset[0] == 0
    assert answer.usage.prompt_tokens == 2
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.completions.create(**wanted, **options))
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == "You said: the tide"
    assert chunks[-1].usage.completion_tokens == 4, chunks[-1]
    fails(
        openai.NotFoundError,
        None,
        lambda: client.completions.create(model=MODEL, prompt="x"),
    )


def embeddings(client):
    wanted = {"model": "text-embedding-3-small", "input": ["one", "two"], "dimensions": 8}
    short = client.embeddings.create(**wanted)
    plain = client.embeddings.create(**wanted, encoding_format="float")
    assert [row.embedding for row in short.data] == [row.embedding for row in plain.data]


CASES = [
    buffered,
    streamed,
    tool_loop,
    tools_streamed,
    reasoning,
    parsed,
    refusal_and_length,
    logprobs,
    conversation,
    background,
    resumed,
    stored,
    errors,
    moderations,
    completions,
    embeddings,
]


def main():
    base_url, key, *names = sys.argv[1:]
    client = OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=20)
    for case in CASES:
        if not names or case.__name__ in names:
            case(client)
            print("ok", case.__name__)


main()
