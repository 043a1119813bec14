"""An application: it asks one model for pictures and prints what it saw. It knows the gateway's address, a key and the
model's name, and nothing of who serves it.

usage: painter.py BASE_URL KEY MODEL
"""

import json
import sys

from openai import OpenAI

base_url, key, model = sys.argv[1:4]
client = OpenAI(base_url=base_url, api_key=key, max_retries=0)
ask = {"model": model, "prompt": "a tide", "n": 2, "size": "1024x768"}

raw = client.images.with_raw_response.generate(**ask)
answer = raw.parse()
inside = client.images.generate(**ask, response_format="b64_json")
print(json.dumps({
    "urls": [picture.url for picture in answer.data],
    "bytes": [picture.b64_json[:16] for picture in inside.data],
    "size": answer.size,
    # Only to tell the test who served it.
    "profile": raw.headers["agent-execution-profile"],
    "provider": raw.headers["agent-resolved-provider"],
    "request": raw.headers["x-request-id"],
}))
