// Drives a gateway with the official Node SDK, unmodified, where pictures are made of others.
//
// usage: node pictures.mjs BASE_URL KEY READ_ONLY_KEY
// Prints `ok CASE` for each case that held.

import assert from "node:assert/strict";
import { crc32 } from "node:zlib";
import OpenAI, { toFile } from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const model = "openai/gpt-image-1-mini";
const prompt = "a high tide";
const short = Buffer.alloc(10_000, "tide");
const long = Buffer.alloc(3_000_000, "A high tide. ");

const png = (bytes) => toFile(bytes, "tide.png", { type: "image/png" });
const sum = (bytes) => crc32(bytes).toString(16).padStart(8, "0");
const told = (...files) => files.map(([name, bytes]) => `${name}: ${bytes.length} bytes of ${sum(bytes)}`).join("; ");
const seen = (picture) => {
  const bytes = Buffer.from(picture, "base64");
  return bytes.subarray(bytes.indexOf("IEND") + 8).toString();
};

const cases = {
  async one(client) {
    // Fields go in the order in which they are named: here the file comes first, and is held.
    const answer = await client.images.edit({ image: await png(long), model, prompt, n: 2 });
    assert.deepEqual(answer.data.map((image) => seen(image.b64_json)), Array(2).fill(told(["image", long])));
    assert.equal(answer.usage.output_tokens, 2 * 272);
  },
  async several(client) {
    const image = [await png(short), await png(long)];
    const answer = await client.images.edit({ model, prompt, image, mask: await png(short) });
    assert.equal(seen(answer.data[0].b64_json), told(["image[]", short], ["image[]", long], ["mask", short]));
  },
  async by_and_by(client) {
    const image = await png(short);
    const events = [];
    for await (const event of await client.images.edit({ model, prompt, stream: true, partial_images: 1, image })) {
      events.push(event);
    }
    assert.deepEqual(events.map((event) => event.type), ["image_edit.partial_image", "image_edit.completed"]);
    assert.equal(seen(events[1].b64_json), told(["image", short]));
  },
  async variations(client) {
    const answer = await client.images.createVariation({ model: "openai/dall-e-2", image: await png(short), n: 2 });
    assert.equal(answer.data.length, 2);
    const none = client.images.createVariation({ model: "openai/dall-e-2", image: await png(short), n: 0 });
    await assert.rejects(none, { constructor: OpenAI.BadRequestError, param: "n" });
  },
};

const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
for (const [name, run] of Object.entries(cases)) {
  await run(client);
  console.log("ok", name);
}
