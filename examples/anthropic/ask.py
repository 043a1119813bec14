"""One question through Anthropic's Python SDK, to any provider's model: python ask.py [MODEL]"""

import os
import sys

from anthropic import Anthropic

model = sys.argv[1] if len(sys.argv) > 1 else "openai/gpt-4o-mini"
client = Anthropic(base_url=os.environ["TIDEGATE_URL"], api_key=os.environ["TIDEGATE_API_KEY"])
with client.messages.stream(model=model, max_tokens=200, messages=[{"role": "user", "content": "Hello"}]) as stream:
    for text in stream.text_stream:
        print(text, end="")
print()
