"""Drives a gateway's /mcp with the protocol's own Python client, unmodified.

usage: python mcp_client.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import asyncio
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

MINI = "openai/gpt-4o-mini"
base, key = sys.argv[1], sys.argv[2]
url = base.removesuffix("/v1") + "/mcp"


async def main() -> None:
    async with streamablehttp_client(url, headers={"Authorization": f"Bearer {key}"}) as (read, write, _):
        async with ClientSession(read, write) as session:
            begun = await session.initialize()
            assert begun.serverInfo.name == "tidegate", begun
            print("ok begins", flush=True)
            tools = [tool.name for tool in (await session.list_tools()).tools]
            assert {"app_run", "app_list", "task_get"} <= set(tools), tools
            print("ok lists_tools", flush=True)
            progress = []

            async def report(done, total, message):
                progress.append(done)

            arguments = {"app": MINI, "input": {"prompt": "hello there"}}
            ran = await session.call_tool("app_run", arguments, progress_callback=report)
            assert ran.content[0].text == "You said: hello there", ran
            assert progress and progress == sorted(set(progress)), progress
            print("ok runs_an_app", flush=True)
            task = await session.call_tool("task_get", {"task_id": ran.structuredContent["task_id"]})
            assert task.structuredContent["status_text"] == "completed", task
            apps = await session.read_resource("tidegate://apps")
            assert MINI in apps.contents[0].text
            print("ok reads", flush=True)


asyncio.run(main())
