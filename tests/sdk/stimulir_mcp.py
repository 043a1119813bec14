"""Calls the tools of the client's own MCP server, which it runs over its standard input and output."""

import asyncio
import base64
import json
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

origin, key, model = sys.argv[1:]
SOUND = base64.b64encode(b"\x00\x01" * 100).decode()
CALLS = [
    ("infer", {"prompt": "hello there", "model": model}),
    ("models", {}),
    ("speak", {"text": "The tide is high", "model": "openai/gpt-4o-mini-tts"}),
    ("speak_to_file", {"text": "The tide is high", "model": "openai/gpt-4o-mini-tts"}),
    ("transcribe", {"audio_base64": SOUND, "model": "openai/whisper-1"}),
    ("usage", {}),
    ("list_prompts", {}),
]


async def main():
    environment = {"STIMULIR_API_URL": origin, "STIMULIR_API_KEY": key, "NO_PROXY": "*"}
    server = StdioServerParameters(command=sys.executable, args=["-m", "stimulir_mcp"], env=environment)
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()
        out = {}
        for name, arguments in CALLS:
            answer = await session.call_tool(name, arguments)
            parts = [getattr(part, "text", None) or part.mimeType for part in answer.content]
            out[name] = [answer.isError, *parts]
        print(json.dumps(out))


asyncio.run(main())
