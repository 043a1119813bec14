"""An agent in one loop: the model calls a function of ours until it has an answer. python agent.py [MODEL]"""

import json
import os
import sys

from openai import OpenAI

STEPS_MAX = 5
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def get_weather(city):
    return {"city": city, "sky": "clear", "celsius": 21}


model = sys.argv[1] if len(sys.argv) > 1 else "openai/gpt-4o-mini"
client = OpenAI(base_url=os.environ["TIDEGATE_URL"] + "/v1", api_key=os.environ["TIDEGATE_API_KEY"])
messages = [{"role": "user", "content": "What is the weather in Lisbon? Use get_weather."}]

for _ in range(STEPS_MAX):
    message = client.chat.completions.create(model=model, messages=messages, tools=[TOOL]).choices[0].message
    messages.append(message)
    if not message.tool_calls:
        break
    for call in message.tool_calls:
        result = get_weather(**json.loads(call.function.arguments))
        print("called", call.function.name)
        messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})
print(message.content)
