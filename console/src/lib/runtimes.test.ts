import { expect, test } from 'vitest';
import { sizes } from './runtimes';
import type { NodeJoined } from './wire';

test('models and adapters are listed by their size, where a node tells it', () => {
  const said = { model_bytes: { 'tides:law': 2_000, tides: 9_000_000 } };
  expect(sizes({ said } as unknown as NodeJoined)).toEqual([
    ['tides', 9_000_000],
    ['tides:law', 2_000],
  ]);
  expect(sizes({ said: {} } as unknown as NodeJoined)).toEqual([]);
  expect(sizes(null)).toEqual([]);
});
