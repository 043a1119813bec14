"""Drives a gateway with Google's SDK, unmodified and without a word of caches: the gateway makes them by itself.

usage: context_caches.py BASE_URL KEY MODEL
Prints `ok CASE` for each case that held.
"""

from driver import LAST as MODEL
from driver import google_client, run
from google.genai import types

# Enough to wait for what is made beside the requests.
QUESTIONS_MAX = 200


def config():
    parameters = {"type": "OBJECT", "properties": {"port": {"type": "STRING"}}}
    tide = types.FunctionDeclaration(name="tide", description="The tide at a port.", parameters=parameters)
    return types.GenerateContentConfig(
        system_instruction="Everything of the sea is known. " * 1500,
        tools=[types.Tool(function_declarations=[tide])],
        tool_config=types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="NONE")),
        max_output_tokens=64,
    )


def cached(usage):
    assert usage.prompt_token_count > 4096, usage
    return (usage.cached_content_token_count or 0) > 4096


def asked(client):
    def ask(number):
        answer = client.models.generate_content(model=MODEL, contents=f"Question {number}?", config=config())
        assert answer.text, answer
        return cached(answer.usage_metadata)

    assert not any(ask(number) for number in range(3))
    assert any(ask(number) for number in range(3, QUESTIONS_MAX))
    assert ask(QUESTIONS_MAX)


def streamed(client):
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="And now?", config=config()))
    assert "".join(chunk.text or "" for chunk in chunks), chunks
    assert cached(chunks[-1].usage_metadata)


def chatted(client):
    chat = client.chats.create(model=MODEL, config=config())
    for question in ["High water?", "Low water?"]:
        answer = chat.send_message(question)
        assert answer.text and cached(answer.usage_metadata), answer
    assert len(chat.get_history()) == 4


def unlisted(client):
    assert list(client.caches.list()) == []


run(google_client(), asked, streamed, chatted, unlisted)
