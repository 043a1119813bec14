// Sends calls at once with the official Node SDK and its default retries, to a provider that fails.
//
// usage: node storm.mjs BASE_URL KEY CALLS
// Prints how many of the calls failed.

import assert from "node:assert/strict";
import OpenAI from "openai";

const [baseURL, apiKey, calls] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });

async function call() {
  try {
    await client.chat.completions.create({ model: "broken/acme-large", messages: [{ role: "user", content: "Hello" }] });
  } catch (error) {
    assert.equal(error.status, 503, `${error}`);
    return 1;
  }
  return 0;
}

const failed = await Promise.all(Array.from({ length: Number(calls) }, call));
console.log("failed", failed.reduce((sum, one) => sum + one, 0));
