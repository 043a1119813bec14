"""Drives a gateway with the official Python SDKs, unmodified, where they don't converse: vectors and counts.

usage: embeddings.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import sys

import anthropic
import openai
from google import genai

GEMINI = "google/gemini-embedding-001"
OPENAI = "openai/text-embedding-3-small"
TEXTS = ["tide", "moon né 漢字 🙂"]
DIMENSIONS = 8
QUESTION = "How high is the tide?"
# One that each provider counts, and one whose server has no way to.
COUNTED = ["google/gemini-2.5-flash", "openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"]
GUESSED = "limited/acme-large"


def alike(one, other):
    """The same but for what f32 keeps of digits."""
    assert len(one) == len(other), (len(one), len(other))
    assert all(abs(a - b) < 1e-6 for a, b in zip(one, other)), (one, other)


def vectors_of(answer):
    vectors = [embedding.values for embedding in answer.embeddings]
    assert [len(vector) for vector in vectors] == [DIMENSIONS] * len(TEXTS), vectors
    assert vectors[0] != vectors[1]
    return vectors


def embed_content(clients):
    config = {"output_dimensionality": DIMENSIONS, "task_type": "RETRIEVAL_QUERY"}
    ask = lambda model: clients.gemini.models.embed_content(model=model, contents=TEXTS, config=config)
    for own, other in zip(vectors_of(ask(GEMINI)), vectors_of(ask(OPENAI))):
        alike(own, other)
    one = clients.gemini.models.embed_content(model=OPENAI, contents=TEXTS[0])
    assert len(one.embeddings) == 1 and len(one.embeddings[0].values) > DIMENSIONS
    assert one.usage_metadata.prompt_token_count > 0, one.usage_metadata


def embeddings(clients):
    vectors = {}
    for model in [GEMINI, OPENAI]:
        # The SDK asks for base64 where nothing is said, and decodes it.
        for how in [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}]:
            answer = clients.openai.embeddings.create(model=model, input=TEXTS, dimensions=DIMENSIONS, **how)
            assert [row.index for row in answer.data] == [0, 1], answer
            assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0, answer.usage
            rows = [row.embedding for row in answer.data]
            if how.get("encoding_format") == "base64":
                assert all(isinstance(row, str) for row in rows), rows
                continue
            for row, first in zip(rows, vectors.setdefault("first", rows)):
                alike(row, first)
    answer = clients.openai.embeddings.create(model=GEMINI, input=TEXTS[0])
    assert len(answer.data) == 1 and len(answer.data[0].embedding) > DIMENSIONS


def tokens_are_refused(clients):
    try:
        clients.openai.embeddings.create(model=GEMINI, input=[[1, 2, 3]])
    except openai.BadRequestError as error:
        assert error.param == "input", error
    else:
        raise AssertionError("tokens were embedded")


def count_tokens_of_gemini(clients):
    counts = {}
    for model in COUNTED + [GUESSED]:
        counts[model] = clients.gemini.models.count_tokens(model=model, contents=QUESTION).total_tokens
    assert all(count > 0 for count in counts.values()), counts


def count_tokens_of_anthropic(clients):
    tool = {
        "name": "get_tide",
        "description": "The height of the tide.",
        "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}},
    }
    for model in COUNTED + [GUESSED]:
        messages = [{"role": "user", "content": QUESTION}]
        count = lambda **more: clients.anthropic.messages.count_tokens(model=model, messages=messages, **more)
        plain = count().input_tokens
        more = count(system="Answer in one word.", tools=[tool]).input_tokens
        assert 0 < plain < more, (model, plain, more)


class Clients:
    def __init__(self, base_url, key):
        origin = base_url.removesuffix("/v1")
        self.openai = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
        self.anthropic = anthropic.Anthropic(base_url=origin, api_key=key, max_retries=0)
        self.gemini = genai.Client(api_key=key, http_options={"base_url": origin})


def main():
    base_url, key, _ = sys.argv[1:]
    clients = Clients(base_url, key)
    for case in [
        embed_content,
        embeddings,
        tokens_are_refused,
        count_tokens_of_gemini,
        count_tokens_of_anthropic,
    ]:
        case(clients)
        print("ok", case.__name__, flush=True)


main()
