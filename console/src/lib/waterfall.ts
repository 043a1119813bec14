// Where the time of one request went, step by step, out of its timeline. All in microseconds from its arrival.

import type { Attempt, Exchange } from './wire';

export interface Step {
  name: string;
  what: string;
  from: number;
  to: number;
  kind: 'own' | 'upstream' | 'stream' | 'failed' | 'pause';
  attempt?: number;
}

/** A mark of 0 after the first was never reached. */
export function steps(exchange: Pick<Exchange, 'timeline' | 'attempts' | 'stream'>): Step[] {
  const { timeline, attempts } = exchange;
  const found: Step[] = [];
  let at = 0;
  const own = (name: string, what: string, mark: number | null): void => {
    if (!mark || mark < at) return;
    found.push({ name, what, from: at, to: mark, kind: 'own' });
    at = mark;
  };
  own('Read', 'Reads and parses the request', timeline.decoded_us);
  own('Admit', 'Checks the key and its limits', timeline.admitted_us);
  own('Plan', 'Finds and ranks what can serve it', timeline.planned_us);
  // A first attempt starts before its intent is on disk; the intent is on disk before the attempt is sent.
  own('Record', 'Writes the intent to disk before sending', timeline.intent_us);
  for (const [place, attempt] of attempts.entries()) {
    const before = attempts[place - 1];
    const ended = before ? before.started_us + before.duration_us : attempt.started_us;
    if (attempt.started_us > ended) found.push({ name: `Pause before ${attempt.number}`, what: 'Backs off before the next attempt', from: ended, to: attempt.started_us, kind: 'pause' });
    found.push(...upstream(attempt, attempts.length, exchange));
  }
  const last = attempts.at(-1);
  const end = last ? last.started_us + last.duration_us : at;
  const settled = timeline.settled_us ?? end;
  if (settled > end) found.push({ name: 'Settle', what: 'Counts tokens, prices them and records the charge', from: end, to: settled, kind: 'own' });
  return found;
}

function upstream(attempt: Attempt, count: number, { timeline, stream }: Pick<Exchange, 'timeline' | 'stream'>): Step[] {
  const end = attempt.started_us + attempt.duration_us;
  const from = Math.min(end, attempt.number === 1 ? Math.max(attempt.started_us, timeline.intent_us ?? 0) : attempt.started_us);
  const named = (word: string) => (count > 1 ? `Attempt ${attempt.number}: ${word}` : word[0]?.toUpperCase() + word.slice(1));
  const number = attempt.number;
  const head = timeline.upstream_head_us ?? 0;
  const isLast = attempt.number === count;
  if (!isLast || head <= from || head > end) {
    const kind = attempt.fault ? 'failed' : 'upstream';
    return [{ name: named(attempt.fault ? 'failed' : 'upstream'), what: attempt.fault ? `${attempt.provider} failed: ${attempt.fault}` : `${attempt.provider} responds`, from, to: end, kind, attempt: number }];
  }
  const first = Math.min(end, Math.max(head, timeline.first_byte_us ?? head));
  const waited: Step = { name: named('wait'), what: `${attempt.provider} works until it sends headers`, from, to: first, kind: 'upstream', attempt: number };
  const came: Step = { name: named(stream ? 'stream' : 'answer'), what: stream ? 'Streams the answer' : 'Sends the response body', from: first, to: end, kind: attempt.fault ? 'failed' : 'stream', attempt: number };
  return came.to > came.from ? [waited, came] : [waited];
}

/** The length of the whole. */
export function length(exchange: Pick<Exchange, 'timeline' | 'attempts'>): number {
  const ends = exchange.attempts.map((attempt) => attempt.started_us + attempt.duration_us);
  return Math.max(1, exchange.timeline.settled_us ?? 0, ...ends);
}

/** What the gateway itself took: everything that was not an upstream's. */
export function ownTime(found: Step[]): number {
  return found.filter((step) => step.kind === 'own').reduce((sum, step) => sum + (step.to - step.from), 0);
}
