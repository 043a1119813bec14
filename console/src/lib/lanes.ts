// Models asked side by side: which, what each of them is told, what served them, and who was first.

export const LANES_MAX = 4;

/** The models in the address, in their order, each once. */
export function readLanes(query: URLSearchParams, standard: string): string[] {
  const named = [...new Set(query.getAll('model').map((name) => name.trim()))].filter((name) => name !== '');
  return named.length === 0 ? [standard] : named.slice(0, LANES_MAX);
}

/** The address with these models, and all else as it was. */
export function lanesHref(path: string, query: URLSearchParams, lanes: readonly string[]): string {
  const next = new URLSearchParams(query);
  next.delete('model');
  for (const name of lanes) if (name.trim() !== '') next.append('model', name.trim());
  const text = next.toString();
  return text === '' ? path : `${path}?${text}`;
}

/** A message in the chat format. */
export interface Message {
  role: string;
  content?: unknown;
}

export interface Said {
  model: string;
  text: string;
  isFailed: boolean;
}

/** What a model is told: each prompt that it answered, with its own answer, and the one that it is asked now. */
export function messages(rounds: readonly { content: unknown; answers: readonly Said[] }[], model: string, content: unknown, system: string, before: readonly Message[] = []): Message[] {
  const told: Message[] = [...(system.trim() === '' ? [] : [{ role: 'system', content: system.trim() }]), ...before];
  for (const round of rounds) {
    const own = round.answers.find((answer) => answer.model === model);
    if (!own || own.isFailed || own.text === '') continue;
    told.push({ role: 'user', content: round.content }, { role: 'assistant', content: own.text });
  }
  return [...told, { role: 'user', content }];
}

/** What the headers of an answer tell about who gave it. */
export interface Served {
  profile: string;
  provider: string | null;
  model: string | null;
  region: string | null;
  /** The node or the credential that it went through. */
  principal: string | null;
  attempts: number;
  isFallback: boolean;
}

export function servedBy(headers: Headers): Served | undefined {
  const profile = headers.get('agent-execution-profile');
  if (!profile) return undefined;
  return {
    profile,
    provider: headers.get('agent-resolved-provider'),
    model: headers.get('agent-resolved-model'),
    region: headers.get('agent-region'),
    principal: headers.get('agent-node-id') ?? headers.get('agent-byok-credential-id'),
    attempts: Number(headers.get('agent-attempts') ?? 1),
    isFallback: headers.get('agent-fallback-used') === 'true',
  };
}

/** What was left out because the model's provider has no words for it. */
export function droppedIn(headers: Headers): string[] {
  return (headers.get('agent-dropped-params') ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);
}

export interface Measured {
  firstByteMs?: number;
  /** Nothing where it is not settled, or has no price. */
  costNanos?: number;
}

/** Who began first and who cost least, by their places; told only where there is somebody to compare with, and one of them alone. */
export function firsts(answers: readonly Measured[]): { fastest?: number; cheapest?: number } {
  return { fastest: least(answers.map((answer) => answer.firstByteMs)), cheapest: least(answers.map((answer) => answer.costNanos)) };
}

function least(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value): value is number => value !== undefined);
  if (known.length < 2) return undefined;
  const smallest = Math.min(...known);
  return known.filter((value) => value === smallest).length === 1 ? values.indexOf(smallest) : undefined;
}
