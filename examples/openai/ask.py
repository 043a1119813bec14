"""One question through OpenAI's Python SDK, buffered and streamed: python ask.py [MODEL]"""

import os
import sys

from openai import OpenAI

model = sys.argv[1] if len(sys.argv) > 1 else "openai/gpt-4o-mini"
client = OpenAI(base_url=os.environ["TIDEGATE_URL"] + "/v1", api_key=os.environ["TIDEGATE_API_KEY"])
messages = [{"role": "user", "content": "Hello"}]

answer = client.chat.completions.with_raw_response.create(model=model, messages=messages)
print(answer.parse().choices[0].message.content)
print("served by", answer.headers["agent-execution-profile"])

for chunk in client.chat.completions.create(model=model, messages=messages, stream=True):
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="")
print()
