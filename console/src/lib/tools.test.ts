import { expect, test } from 'vitest';
import { fill, grouped, pieces, TOOLS } from './tools';

const place = { url: 'http://127.0.0.1:8787', key: 'tg_live_x', model: 'openai/gpt-5-mini' };

test('each snippet is filled in, and keeps the braces of its language', () => {
  for (const tool of TOOLS) {
    const texts = tool.snippet.map((snippet) => fill(snippet.text, place));
    expect(texts.join('\n'), tool.id).toContain(place.url);
    for (const text of texts) expect(text, tool.id).not.toMatch(/\{(url|key|model)\}/);
  }
  expect(fill('{"a": {"{model}": {}}}\n', place)).toBe('{"a": {"openai/gpt-5-mini": {}}}');
  expect(fill('{key}', { ...place, key: '$& {url}' })).toBe('$& {url}');
});

test('a search finds tools by name, language and file, in their groups', () => {
  expect(grouped('').flatMap((one) => one.tools)).toHaveLength(TOOLS.length);
  expect(grouped('claude')).toMatchObject([{ group: 'Coding tools', tools: [{ id: 'claude-code' }] }]);
  expect(grouped('google python').flatMap((one) => one.tools.map((tool) => tool.id))).toContain('gemini-python');
  expect(grouped('config.toml').flatMap((one) => one.tools.map((tool) => tool.id))).toEqual(['codex']);
  expect(grouped('no such tool')).toEqual([]);
});

test('a note is text and code', () => {
  expect(pieces('Set `A=1`; see [the docs](api.md#a).')).toEqual([
    { text: 'Set ', isCode: false },
    { text: 'A=1', isCode: true },
    { text: '; see the docs.', isCode: false },
  ]);
});
