// One question through OpenAI's Node SDK, streamed: node ask.mjs [MODEL]
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.TIDEGATE_URL}/v1`, apiKey: process.env.TIDEGATE_API_KEY });
const stream = await client.chat.completions.create({
  model: process.argv[2] ?? "openai/gpt-4o-mini",
  messages: [{ role: "user", content: "Hello" }],
  stream: true,
});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? "");
console.log();
