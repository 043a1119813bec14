import { expect, test } from 'vitest';
import { EventReader, joined } from './stream';

const chunk = (content: string) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}`;

test('events are read whole, however they are cut', () => {
  const text = `: keep-alive\n\n${chunk('Ti')}\n\n${chunk('de')}\r\n\r\ndata: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\ndata: [DONE]\n\n`;
  const whole = new EventReader().push(text);
  expect(whole).toEqual([{ text: 'Ti' }, { text: 'de' }, { finish: 'stop' }, { usage: { prompt_tokens: 3, completion_tokens: 2 } }, { isDone: true }]);
  const reader = new EventReader();
  expect([...text].flatMap((letter) => reader.push(letter))).toEqual(whole);
});

test('an error in the stream is an error', () => {
  expect(new EventReader().push('data: {"error":{"message":"gone"}}\n\n')).toEqual([{ error: 'gone' }]);
  expect(new EventReader().push('data: {"choices"\n\n')[0]?.error).toBeTruthy();
});

test('a call comes in pieces', () => {
  const events = new EventReader().push('data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"find","arguments":"{\\"a\\":"}}]}}]}\n\ndata: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}},{"index":1,"function":{"name":"list"}}]}}]}\n\n');
  expect(events.reduce((calls, event) => joined(calls, event.calls ?? []), joined([], []))).toEqual([{ name: 'find', arguments: '{"a":1}' }, { name: 'list', arguments: '' }]);
});
