"""An application: it asks one model, buffered and as a stream, and prints what it saw. It knows the gateway's address, a
key and the model's name, and nothing of who serves it.

usage: application.py BASE_URL KEY MODEL
"""

import json
import sys

from openai import OpenAI

base_url, key, model = sys.argv[1:4]
client = OpenAI(base_url=base_url, api_key=key, max_retries=0)
ask = {"model": model, "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 64}

raw = client.chat.completions.with_raw_response.create(**ask)
answer = raw.parse()
chunks = list(client.chat.completions.create(**ask, stream=True))
print(json.dumps({
    "said": answer.choices[0].message.content,
    "ended": answer.choices[0].finish_reason,
    "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
    "tokens": [answer.usage.prompt_tokens, answer.usage.completion_tokens],
    # Only to tell the test who served it.
    "profile": raw.headers["agent-execution-profile"],
    "provider": raw.headers["agent-resolved-provider"],
    "request": raw.headers["x-request-id"],
}))
