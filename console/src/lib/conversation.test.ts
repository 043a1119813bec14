import { expect, test } from 'vitest';
import { textOf, turnsOf, turnsOfEvents } from './conversation';
import type { SessionEvent } from './wire';

test('the text of a content is its text, and parts without any are named', () => {
  for (const [content, expected] of [
    ['a', 'a'],
    [null, ''],
    [[{ type: 'text', text: 'a' }, { type: 'image_url', image_url: {} }], 'a\n[image_url]'],
    [{ a: 1 }, '{\n  "a": 1\n}'],
  ] as const) {
    expect(textOf(content)).toBe(expected);
  }
});

test('a result stands below the call that it answers, or alone', () => {
  const call = { id: 'c1', function: { name: 'find', arguments: '{"a":1}' } };
  const turns = turnsOf([
    { role: 'user', content: 'Find it.' },
    { role: 'assistant', content: null, tool_calls: [call, { id: 'c2', function: { name: 'look', arguments: '' } }] },
    { role: 'tool', tool_call_id: 'c1', content: 'found' },
    { role: 'tool', tool_call_id: 'gone', content: 'lost' },
    { role: 'assistant', content: 'Here.' },
  ]);
  expect(turns).toEqual([
    { role: 'user', text: 'Find it.', calls: [] },
    { role: 'assistant', text: '', calls: [{ name: 'find', arguments: '{"a":1}', result: 'found' }, { name: 'look', arguments: '' }] },
    { role: 'tool', text: 'lost', calls: [] },
    { role: 'assistant', text: 'Here.', calls: [] },
  ]);
});

test('events of a session are one conversation, whoever wrote them', () => {
  const event = (event_type: string, content: unknown) => ({ event_type, content }) as SessionEvent;
  const turns = turnsOfEvents([
    event('user_message', 'Where is it?'),
    event('assistant_message', { type: 'function_call', call_id: 'c', name: 'find', arguments: '{}' }),
    event('tool_result', { type: 'function_call_output', call_id: 'c', output: 'here' }),
    event('assistant_message', { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'Here.' }] }),
    event('note', undefined),
  ]);
  expect(turns).toEqual([
    { role: 'user', text: 'Where is it?', calls: [] },
    { role: 'assistant', text: '', calls: [{ name: 'find', arguments: '{}', result: 'here' }] },
    { role: 'assistant', text: 'Here.', calls: [] },
  ]);
});
