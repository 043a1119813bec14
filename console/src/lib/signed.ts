// Whether a signed document holds, checked in the browser: Ed25519 over its canonical form without the signature.

export type Holding = 'holds' | 'forged' | 'unchecked';

/** Members in the order of their names, no spaces: what is signed. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const members = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`).join(',')}}`;
}

function bytes(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** `unchecked` where the browser knows no Ed25519. */
export async function check(document: { public_key: string; signature: string }, trusted: string): Promise<Holding> {
  const { signature, ...signed } = document;
  if (document.public_key !== trusted) return 'forged';
  try {
    const key = await crypto.subtle.importKey('raw', bytes(trusted), { name: 'Ed25519' }, false, ['verify']);
    const holds = await crypto.subtle.verify('Ed25519', key, bytes(signature), new TextEncoder().encode(canonical(signed)));
    return holds ? 'holds' : 'forged';
  } catch {
    return 'unchecked';
  }
}
