// The search of the audit: what the address says, as the server takes it.

/** The names in the address. */
export const SEARCH = ['find', 'actor', 'action', 'target', 'start', 'end'] as const;

/** What the server searches by. */
export interface AuditSearch extends Record<string, string | undefined> {
  q?: string;
  actor?: string;
  action?: string;
  target?: string;
  start?: string;
  end?: string;
}

/** The moment at which a day begins here, or the one after it; nothing for what is no day. */
function dayStart(text: string | null, after = 0): string | undefined {
  const [, year, month, day] = /^(\d{4})-(\d{2})-(\d{2})$/.exec(text ?? '') ?? [];
  const at = new Date(Number(year), Number(month) - 1, Number(day) + after);
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
}

export function readSearch(query: URLSearchParams): AuditSearch {
  const text = (name: string) => query.get(name)?.trim() || undefined;
  const search: AuditSearch = {
    q: text('find'),
    actor: text('actor'),
    action: text('action'),
    target: text('target'),
    start: dayStart(query.get('start')),
    // The last day is whole.
    end: dayStart(query.get('end'), 1),
  };
  return Object.fromEntries(Object.entries(search).filter(([, value]) => value !== undefined));
}
