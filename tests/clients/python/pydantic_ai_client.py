"""Pydantic AI, in four grammars; the tool loop is its own agent's."""

import asyncio

from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

from cases import Client, main


def openai(kind):
    return lambda place, model: kind(model, provider=OpenAIProvider(base_url=f"{place.origin}/v1", api_key=place.key))


def messages(place, model):
    return AnthropicModel(model, provider=AnthropicProvider(base_url=place.origin, api_key=place.key))


def generate_content(place, model):
    return GoogleModel(model, provider=GoogleProvider(base_url=place.origin, api_key=place.key))


def client(build, tries):
    async def stream(place, model, question):
        async with Agent(build(place, model)).run_stream(question) as run:
            return [piece async for piece in run.stream_text(delta=True, debounce_by=None)]

    return Client(
        chat=lambda place, model, question: Agent(build(place, model)).run_sync(question).output,
        stream=lambda place, model, question: asyncio.run(stream(place, model, question)),
        tools=lambda place, model, question, tool: (
            Agent(build(place, model), tools=[tool]).run_sync(question).output
        ),
        not_found=ModelHTTPError, limited=ModelHTTPError, tries=tries,
    )


main({
    "chat": client(openai(OpenAIChatModel), 1),
    "responses": client(openai(OpenAIResponsesModel), 1),
    "messages": client(messages, 1),
    "generate": client(generate_content, 1),
})
