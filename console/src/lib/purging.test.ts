import { expect, test } from 'vitest';
import { erasureId, isErasure, scopeWords } from './purging';
import type { PurgeScope } from './wire';

const NOTHING: PurgeScope = { workspace: false, project_id: null, key_id: null, request_ids: [], from: null, to: null, session_id: null, artifact_ids: [], session_ids: [] };

test('a purge is told by what it is about, and by whether it erases a person', () => {
  const cases: [Partial<PurgeScope>, string, boolean][] = [
    [{ workspace: true }, 'The whole workspace', true],
    [{ session_ids: ['ses_1'] }, '1 session', true],
    [{ session_ids: ['ses_1', 'ses_2'] }, '2 sessions', true],
    [{ end_user_id: 'eu_1' }, 'End user eu_1', true],
    [{ project_id: 'prj_1' }, 'Project heron', false],
    [{ key_id: 'key_1' }, 'Key key_1', false],
    [{ session_id: 'ses_1' }, 'Session ses_1', false],
    [{ artifact_ids: ['art_1'] }, '1 artifact', false],
    [{ request_ids: ['trc_1', 'trc_2'] }, '2 requests', false],
    [{ from: '2026-11-01', to: null }, '2026-11-01 to …', false],
  ];
  for (const [scope, words, erases] of cases) {
    const whole = { ...NOTHING, ...scope };
    expect(scopeWords(whole, (id) => (id === 'prj_1' ? 'heron' : undefined), (time) => time ?? '…')).toBe(words);
    expect(isErasure(whole)).toBe(erases);
  }
});

test('an erasure has the number of its purge', () => {
  expect(erasureId('pjb_01a1')).toBe('del_01a1');
});
