"""A server of the protocol's own SDK, for the client of MCP: prints its URL, and serves until it is ended."""

import socket
import sys

import uvicorn
from mcp.server.fastmcp import FastMCP

server = FastMCP("official", json_response=sys.argv[1] == "json")


@server.tool()
def add(a: int, b: int) -> str:
    """Adds two numbers."""
    return f"the sum is {a + b}"


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("no such file")


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
config = uvicorn.Config(server.streamable_http_app(), log_level="error")
uvicorn.Server(config).run(sockets=[listener])
