import { expect, test } from 'vitest';
import { droppedIn, firsts, lanesHref, messages, readLanes, servedBy } from './lanes';

const query = (text: string) => new URLSearchParams(text);

test('the models stand in the address, four at most, each once', () => {
  expect(readLanes(query(''), 'echo')).toEqual(['echo']);
  expect(readLanes(query('model=&model=%20'), 'echo')).toEqual(['echo']);
  expect(readLanes(query('model=a&model=b&model=a'), 'echo')).toEqual(['a', 'b']);
  expect(readLanes(query('model=a&model=b&model=c&model=d&model=e'), 'echo')).toEqual(['a', 'b', 'c', 'd']);
  expect(lanesHref('/playground', query('range=7d&model=x'), ['a/b', ' c ', ''])).toBe('/playground?range=7d&model=a%2Fb&model=c');
  expect(lanesHref('/playground', query('model=x'), [])).toBe('/playground');
  expect(readLanes(query(lanesHref('', query(''), ['a,b', 'c&d']).slice(1)), 'echo')).toEqual(['a,b', 'c&d']);
});

test('each model is told its own answers, and nothing that failed', () => {
  const rounds = [
    { content: 'one', answers: [{ model: 'a', text: 'A1', isFailed: false }, { model: 'b', text: 'B1', isFailed: false }] },
    { content: 'two', answers: [{ model: 'a', text: 'half', isFailed: true }] },
    { content: 'three', answers: [{ model: 'b', text: '', isFailed: false }] },
  ];
  expect(messages(rounds, 'a', 'now', ' be short ')).toEqual([
    { role: 'system', content: 'be short' },
    { role: 'user', content: 'one' },
    { role: 'assistant', content: 'A1' },
    { role: 'user', content: 'now' },
  ]);
  expect(messages(rounds, 'b', 'now', '').map((message) => message.content)).toEqual(['one', 'B1', 'now']);
  expect(messages(rounds, 'new', 'now', '')).toEqual([{ role: 'user', content: 'now' }]);
  expect(messages([], 'a', 'now', 'be short', [{ role: 'user', content: 'before' }]).map((message) => message.content)).toEqual(['be short', 'before', 'now']);
});

test('the headers tell who answered and what was left out', () => {
  const headers = new Headers({ 'agent-execution-profile': 'byoc', 'agent-node-id': 'node_1', 'agent-resolved-provider': 'byoc', 'agent-resolved-model': 'echo', 'agent-attempts': '2', 'agent-fallback-used': 'true', 'agent-dropped-params': 'temperature, messages[0].cache_control' });
  expect(servedBy(headers)).toEqual({ profile: 'byoc', provider: 'byoc', model: 'echo', region: null, principal: 'node_1', attempts: 2, isFallback: true });
  expect(droppedIn(headers)).toEqual(['temperature', 'messages[0].cache_control']);
  expect([servedBy(new Headers()), droppedIn(new Headers())]).toEqual([undefined, []]);
});

test('first is told only of one among several', () => {
  expect(firsts([{ firstByteMs: 9, costNanos: 5 }, { firstByteMs: 4, costNanos: 7 }, {}])).toEqual({ fastest: 1, cheapest: 0 });
  expect(firsts([{ firstByteMs: 9, costNanos: 0 }, { costNanos: 0 }])).toEqual({ fastest: undefined, cheapest: undefined });
  expect(firsts([])).toEqual({ fastest: undefined, cheapest: undefined });
});
