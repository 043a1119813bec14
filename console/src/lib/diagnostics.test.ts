import { describe, expect, it } from 'vitest';
import { kindName, meaning, partName, span, tone, type DiagnosticsFinding, type DiagnosticsReport } from './diagnostics';

describe('reports on a workload', () => {
  it('names kinds and parts, those of a later server too', () => {
    expect([kindName('missed_cache'), kindName('some_later_kind')]).toEqual(['Missed cache', 'Some later kind']);
    expect([partName('ttft_sensitivity'), partName('recurrence')]).toEqual(['TTFT sensitivity', 'Recurrence']);
    expect(['strong', 'good', 'limited', 'low'].map(tone)).toEqual(['ok', 'ok', 'warn', '']);
    expect(meaning({ money_meaning: 'at_most' } as DiagnosticsFinding)).toBe('at most');
  });
  it('keeps the span of own records alone', () => {
    const of = (start: string | null, end: string | null) => ({ scope: { start, end } }) as DiagnosticsReport;
    expect(span(of('2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'))).toEqual({ from: '2026-01-01T00:00:00Z', to: '2026-01-02T00:00:00Z' });
    expect(span(of(null, null))).toEqual({});
  });
});
