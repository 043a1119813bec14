// An MCP server of the protocol's own SDK, on standard input and output. NODE_PATH says where the SDK is.
const { McpServer } = require("@modelcontextprotocol/sdk/server/mcp.js");
const { StdioServerTransport } = require("@modelcontextprotocol/sdk/server/stdio.js");
const { z } = require("zod");

const server = new McpServer({ name: "sums", version: "1.0" });
server.registerTool(
  "add",
  { description: "Adds two numbers.", inputSchema: { a: z.number(), b: z.number() } },
  async ({ a, b }) => ({ content: [{ type: "text", text: `the sum is ${a + b}` }] }),
);
server.connect(new StdioServerTransport());
