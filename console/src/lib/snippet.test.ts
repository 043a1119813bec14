import { expect, test } from 'vitest';
import { code } from './snippet';

const ORIGIN = 'http://127.0.0.1:8787';
const body = { model: 'echo', stream: true, stream_options: { include_usage: true }, messages: [{ role: 'user', content: "it's \"so\"\n" }], temperature: 0.5, tools: [], response_format: { strict: true, none: null }, seed: undefined };

test('curl survives the shell’s quotes', () => {
  const text = code('curl', ORIGIN, body);
  expect(text).toContain(`${ORIGIN}/v1/chat/completions`);
  const sent = /-d '([^]*)'$/.exec(text)?.[1]?.replaceAll(`'\\''`, "'") ?? '';
  expect(JSON.parse(sent)).toEqual({ model: 'echo', messages: body.messages, temperature: 0.5, tools: [], response_format: { strict: true, none: null } });
});

test('Python has its own words for true and null', () => {
  const text = code('python', ORIGIN, body);
  expect(text).toContain('    response_format={"strict": True, "none": None},');
  expect(text).toContain(`    messages=[{"role": "user", "content": "it's \\"so\\"\\n"}],`);
  expect(text).not.toContain('seed');
  expect(text).not.toContain('stream');
});

test('no language shows a key', () => {
  for (const language of ['curl', 'python', 'typescript'] as const) expect(code(language, ORIGIN, body)).toContain('TIDEGATE_API_KEY');
});

test('a long list takes a line for each', () => {
  const messages = [{ role: 'system', content: 'x'.repeat(60) }, { role: 'user', content: 'y' }];
  expect(code('python', ORIGIN, { model: 'echo', messages })).toContain('messages=[\n        {');
});
