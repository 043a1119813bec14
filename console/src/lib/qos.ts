// How well a request was served, beside what its hints stated, in words.

import { statusWords } from './status';
import type { QosOutcome } from './wire';

function promise(stated: number | null, met: boolean | null): string {
  if (stated === null) return '';
  const became = met === null ? 'unknown' : met ? 'met' : 'missed';
  return `${stated} ms: ${became}`;
}

export interface QosWords {
  served: string;
  target: string | null;
  deadline: string | null;
}

/** Times are told by the page itself. */
export function qosWords(outcome: QosOutcome): QosWords {
  const how = statusWords(outcome.completion ?? outcome.admission);
  return {
    served: outcome.degraded ? `${how}, degraded to a fallback` : how,
    target: promise(outcome.target_ttft_ms, outcome.target_met) || null,
    deadline: promise(outcome.deadline_ms, outcome.deadline_met) || null,
  };
}
