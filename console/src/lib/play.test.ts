import { expect, test } from 'vitest';
import { contentOf, fields, NOTHING_SET, schemaProblem, taken, toolsProblem } from './play';

const set = (change: object) => ({ ...NOTHING_SET, ...change });

test('what is empty is not sent', () => {
  expect(fields(NOTHING_SET)).toEqual({});
  expect(fields(set({ temperature: '0', tokens: '64', seed: '7' }))).toEqual({ temperature: 0, max_tokens: 64, seed: 7 });
});

test('a schema is what the answer has to fit', () => {
  expect(fields(set({ schema: '{"type": "object"}' }))).toEqual({ response_format: { type: 'json_schema', json_schema: { name: 'answer', schema: { type: 'object' } } } });
  expect(schemaProblem('')).toBeUndefined();
  expect(schemaProblem('{')).toMatch(/^Invalid JSON/);
  expect(schemaProblem('[]')).toMatch(/^Write a JSON Schema/);
  expect(fields(set({ schema: '{' }))).toEqual({});
});

test('tools are taken bare or in the chat format', () => {
  const whole = { type: 'function', function: { name: 'b' } };
  expect(fields(set({ tools: JSON.stringify([{ name: 'a' }, whole]) }))).toEqual({ tools: [{ type: 'function', function: { name: 'a' } }, whole] });
  expect(toolsProblem('{"name": "a"}')).toMatch(/^Write a list/);
  expect(toolsProblem('[7]')).toMatch(/^Write a list/);
  expect(toolsProblem('[{"name": "a"}]')).toBeUndefined();
});

test('what is attached stands before the text', () => {
  const file = (type: string) => ({ name: 'a.bin', type, base64: 'AAAA' });
  expect(contentOf('hello', [])).toBe('hello');
  expect(contentOf('look', [file('image/png')])).toEqual([{ type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } }, { type: 'text', text: 'look' }]);
  expect(contentOf('', [file('audio/mpeg')])).toEqual([{ type: 'input_audio', input_audio: { data: 'AAAA', format: 'mp3' } }]);
  expect(contentOf('', [file('application/pdf')])).toEqual([{ type: 'file', file: { filename: 'a.bin', file_data: 'data:application/pdf;base64,AAAA' } }]);
});

test('a kept request is taken apart for another try', () => {
  const said = [{ role: 'system', content: 'be short' }, { role: 'user', content: 'one' }, { role: 'assistant', content: 'ONE' }, { role: 'user', content: [{ type: 'text', text: 'two' }] }, { role: 'assistant', content: 'TWO' }];
  expect(taken(said)).toEqual({ system: 'be short', before: said.slice(1, 3), prompt: 'two', content: [{ type: 'text', text: 'two' }] });
  expect(taken([{ role: 'assistant', content: 'x' }])).toMatchObject({ before: [{ role: 'assistant', content: 'x' }], prompt: '' });
});
