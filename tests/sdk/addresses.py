"""Drives a gateway with official Python SDKs, unmodified, whose users changed the address alone.

usage: addresses.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import sys

import anthropic
from google import genai
from openai import AzureOpenAI, OpenAI

MODEL = "gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"
VECTORS = "text-embedding-3-small"
ASK = [{"role": "user", "content": "hello there"}]
SAID = "You said: hello there"
VERSION = "2024-10-21"


def converses(client, model=MODEL):
    answer = client.chat.completions.create(model=model, messages=ASK)
    assert answer.choices[0].message.content == SAID, answer
    chunks = client.chat.completions.create(model=model, messages=ASK, stream=True)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == SAID, said


def knows(client):
    assert client.models.retrieve(MODEL).id == MODEL
    listed = {model.id: model for model in client.models.list()}
    # What OpenAI's list doesn't have is there for those who read it.
    assert listed[f"openai/{MODEL}"].context_length == 128_000, listed[f"openai/{MODEL}"]


def azure(origin, key):
    client = AzureOpenAI(azure_endpoint=origin, api_key=key, api_version=VERSION)
    converses(client)
    converses(client, f"openai/{MODEL}")
    assert len(client.embeddings.create(model=VECTORS, input=["tide", "moon"]).data) == 2
    knows(client)


def azure_deployment(origin, key):
    client = AzureOpenAI(azure_endpoint=origin, azure_deployment=MODEL, api_key=key, api_version=VERSION)
    converses(client, "whatever the deployment is of")


def azure_v1(origin, key):
    client = OpenAI(base_url=f"{origin}/openai/v1/", api_key=key)
    converses(client)
    knows(client)


def openrouter(origin, key):
    client = OpenAI(base_url=f"{origin}/api/v1", api_key=key)
    converses(client)
    knows(client)


def without_version(origin, key):
    client = OpenAI(base_url=origin, api_key=key)
    converses(client)
    knows(client)
    assert client.responses.create(model=MODEL, input="hello there").output_text == SAID


def with_version_twice(origin, key):
    client = anthropic.Anthropic(base_url=f"{origin}/v1", api_key=key)
    answer = client.messages.create(model=MODEL, max_tokens=50, messages=ASK)
    assert answer.content[0].text == SAID, answer
    # And the one that its users mean to write.
    client = anthropic.Anthropic(base_url=origin, api_key=key)
    assert client.models.retrieve(MODEL).id == MODEL


def tool_runner(origin, key):
    statuses = []
    hooks = {"response": [lambda answer: statuses.append(answer.status_code)]}
    http = anthropic.DefaultHttpxClient(event_hooks=hooks)
    client = anthropic.Anthropic(base_url=origin, api_key=key, http_client=http)
    for model in (CLAUDE, MODEL):
        for stream in (False, True):
            cities = []

            @anthropic.beta_tool
            def get_weather(city: str) -> str:
                """The weather of a city."""
                cities.append(city)
                return f"sunny in {city}"

            question = "What does get_weather say?"
            runner = client.beta.messages.tool_runner(
                model=model,
                max_tokens=100,
                messages=[{"role": "user", "content": question}],
                tools=[get_weather],
                stream=stream,
            )
            answer = runner.until_done()
            assert (cities, answer.content[0].text) == (["value"], f"You said: {question}"), (cities, answer)
    # Where a thread isn't found, it would send everything again.
    assert statuses == [200] * 8, statuses


def gemini_for_openai(origin, key):
    client = OpenAI(base_url=f"{origin}/v1beta/openai/", api_key=key)
    converses(client)


def vertex(origin, key):
    client = genai.Client(vertexai=True, api_key=key, http_options={"base_url": origin})
    answer = client.models.generate_content(model=MODEL, contents="hello there")
    assert answer.text == SAID, answer
    chunks = client.models.generate_content_stream(model=MODEL, contents="hello there")
    assert "".join(chunk.text or "" for chunk in chunks) == SAID


def gemini(origin, key):
    client = genai.Client(api_key=key, http_options={"base_url": origin})
    model = client.models.get(model=MODEL)
    assert (model.name, model.input_token_limit) == (f"models/{MODEL}", 128_000), model


CASES = [
    azure,
    azure_deployment,
    azure_v1,
    openrouter,
    without_version,
    with_version_twice,
    tool_runner,
    gemini_for_openai,
    vertex,
    gemini,
]

if __name__ == "__main__":
    base_url, key, _ = sys.argv[1:]
    for case in CASES:
        case(base_url.removesuffix("/v1"), key)
        print("ok", case.__name__, flush=True)
