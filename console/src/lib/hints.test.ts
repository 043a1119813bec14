import { expect, test } from 'vitest';
import { wishes } from './hints';
import type { StoredHints } from './wire';

const NONE: StoredHints = { id: 'ah_1', not_honoured: [], created_at: '' };

test('what is stated is told, and what is not is left out', () => {
  expect(wishes(NONE)).toEqual(['no hints']);
  const hints: StoredHints = {
    ...NONE,
    tag: 'nightly',
    qos: { class: 'batch', priority: 0, deadline_ms: 30_000, target_ttft_ms: null, degrade_policy: 'forbid' },
    reuse: { preference: 'bypass' },
    routing: { region_policy: 'eu_only', execution_profiles: [], data_boundary: 'project' },
    not_honoured: ['reuse.scope'],
  };
  expect(wishes(hints)).toEqual(['tagged nightly', 'class batch', 'priority 0', 'stopped after 30000 ms', 'no fallback', 'response cache: bypass', 'European Union only', 'without effect: reuse.scope']);
});
