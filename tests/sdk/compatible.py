"""Asks a server of a workspace's own through a gateway, with the official Python SDK, unmodified, as applications do:
with a developer's word, lists of texts, the newer name of the length, usage in the stream, and a loop of tools.

usage: compatible.py BASE_URL KEY MODEL
Prints one JSON line for each case: {case, dropped, usage}.
"""

import json
import sys

from openai import OpenAI

BRIEF = {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]}
ASK = [BRIEF, {"role": "user", "content": "hello there"}]
SAID = "You said: hello there"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def show(case, headers, usage):
    print(json.dumps({"case": case, "dropped": headers.get("agent-dropped-params"), "usage": usage}), flush=True)


def buffered(client, model):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=ASK, max_completion_tokens=50)
    answer = raw.parse()
    assert answer.choices[0].message.content == SAID, answer
    show("buffered", raw.headers, answer.usage is not None)


def streamed(client, model):
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=ASK, max_completion_tokens=50, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(raw.parse())
    said = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(said) == SAID, chunks
    assert any(choice.finish_reason for chunk in chunks for choice in chunk.choices), chunks
    show("streamed", raw.headers, any(chunk.usage for chunk in chunks))


def tools(client, model):
    """The answer goes back as the SDK has it: no text beside its calls, and nulls."""
    with client.chat.completions.stream(
        model=model, messages=ASK, tools=[WEATHER], user="emu:tools=parallel"
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    arguments = [call.function.arguments for call in message.tool_calls]
    assert [json.loads(text) for text in arguments] == [{"city": "value"}] * 2, message
    whole = client.chat.completions.create(model=model, messages=ASK, tools=[WEATHER], user="emu:tools=single")
    call = whole.choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "value"}, whole
    follow = ASK + [whole.choices[0].message.model_dump()]
    follow.append({"role": "tool", "tool_call_id": call.id, "content": [{"type": "text", "text": "sunny"}]})
    raw = client.chat.completions.with_raw_response.create(model=model, messages=follow, tools=[WEATHER])
    assert raw.parse().choices[0].message.content, raw.parse()
    show("tools", raw.headers, True)


def main():
    client = OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], timeout=20, max_retries=0)
    for case in (buffered, streamed, tools):
        case(client, sys.argv[3])


main()
