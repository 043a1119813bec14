"""LangChain, in four grammars; the tool loop is its own agent's."""

import anthropic
import openai
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_google_genai.chat_models import ChatGoogleGenerativeAIError
from langchain_openai import ChatOpenAI

from cases import Client, main


def chat_completions(place, model):
    return ChatOpenAI(base_url=f"{place.origin}/v1", api_key=place.key, model=model)


def responses(place, model):
    return ChatOpenAI(base_url=f"{place.origin}/v1", api_key=place.key, model=model, use_responses_api=True)


def messages(place, model):
    return ChatAnthropic(base_url=place.origin, api_key=place.key, model=model)


def generate_content(place, model):
    return ChatGoogleGenerativeAI(base_url=place.origin, api_key=place.key, model=model)


def client(build, not_found, limited, tries):
    def tools(place, model, question, tool):
        agent = create_agent(build(place, model), [tool])
        return agent.invoke({"messages": [("user", question)]})["messages"][-1].text

    return Client(
        chat=lambda place, model, question: build(place, model).invoke(question).text,
        stream=lambda place, model, question: [chunk.text for chunk in build(place, model).stream(question)],
        tools=tools, not_found=not_found, limited=limited, tries=tries,
    )


main({
    "chat": client(chat_completions, openai.NotFoundError, openai.RateLimitError, 1),
    "responses": client(responses, openai.NotFoundError, openai.RateLimitError, 1),
    "messages": client(messages, anthropic.NotFoundError, anthropic.RateLimitError, 1),
    "generate": client(generate_content, ChatGoogleGenerativeAIError, ChatGoogleGenerativeAIError, 6),
})
