// One question through Anthropic's Node SDK, to any provider's model: node ask.mjs [MODEL]
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: process.env.TIDEGATE_URL, apiKey: process.env.TIDEGATE_API_KEY });
const answer = await client.messages.create({
  model: process.argv[2] ?? "openai/gpt-4o-mini",
  max_tokens: 200,
  messages: [{ role: "user", content: "Hello" }],
});
console.log(answer.content[0].text);
