"""LiteLLM as a client: it speaks the grammar that a model's prefix names, and the gateway's model follows it."""

import json

import litellm

from cases import Client, main

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def client(prefix, path, tries, misread=""):
    def ask(place, model, conversation, **more):
        return litellm.completion(
            model=f"{prefix}/{model}", api_base=place.origin + path, api_key=place.key,
            messages=conversation, **more,
        )

    def said_by_user(question):
        return [{"role": "user", "content": question}]

    def stream(place, model, question):
        chunks = ask(place, model, said_by_user(question), stream=True)
        return [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]

    def tools(place, model, question, tool):
        conversation = said_by_user(question)
        while True:
            message = ask(place, model, conversation, tools=[WEATHER_TOOL]).choices[0].message
            if not message.tool_calls:
                return message.content
            conversation.append(message)
            for call in message.tool_calls:
                result = tool(**json.loads(call.function.arguments))
                conversation.append({"role": "tool", "tool_call_id": call.id, "content": result})

    return Client(
        chat=lambda place, model, question: ask(place, model, said_by_user(question)).choices[0].message.content,
        stream=stream, tools=tools,
        not_found=litellm.NotFoundError, limited=litellm.RateLimitError, tries=tries,
        misread=misread,
    )


main({
    "chat": client("openai", "/v1", 1),
    "messages": client("anthropic", "", 1),
    "generate": client("gemini", "/v1beta", 1, misread="403"),
})
