"""LlamaIndex, in two grammars; the tool loop is its own agent's."""

import asyncio

import anthropic
import openai
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai_like import OpenAILike

from cases import Client, main


def chat_completions(place, model):
    # `OpenAI` itself takes only the names that it knows.
    return OpenAILike(
        api_base=f"{place.origin}/v1", api_key=place.key, model=model, is_chat_model=True,
        is_function_calling_model=True,
    )


def messages(place, model):
    return Anthropic(base_url=place.origin, api_key=place.key, model=model)


def client(build, not_found, limited, tries, **more):
    def tools(place, model, question, tool):
        async def run():
            return await FunctionAgent(tools=[tool], llm=build(place, model)).run(question)

        return str(asyncio.run(run()))

    return Client(
        chat=lambda place, model, question: str(build(place, model).complete(question)),
        stream=lambda place, model, question: [
            piece.delta for piece in build(place, model).stream_complete(question)
        ],
        tools=tools, not_found=not_found, limited=limited, tries=tries, **more,
    )


main({
    "chat": client(chat_completions, openai.NotFoundError, openai.RateLimitError, 3),
    # It takes only names that it knows, and so one is asked for that only it knows.
    "messages": client(
        messages, anthropic.NotFoundError, anthropic.RateLimitError, 1, none_such="claude-3-haiku-20240307",
    ),
})
