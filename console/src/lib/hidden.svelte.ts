// What a person has put away for good, kept on this device by workspace and person.

import { session } from './session.svelte';

const NAME = 'tidegate.hidden';

function load(): string[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(NAME) ?? '[]');
    return Array.isArray(found) ? found.filter((one) => typeof one === 'string') : [];
  } catch {
    return [];
  }
}

let entries = $state.raw(load());

const entry = (what: string) => `${what} ${session.workspaceId} ${session.member?.id ?? session.keyId ?? ''}`;

export function isHidden(what: string): boolean {
  return entries.includes(entry(what));
}

export function hide(what: string): void {
  if (isHidden(what)) return;
  entries = [...entries, entry(what)];
  try {
    localStorage.setItem(NAME, JSON.stringify(entries));
  } catch {
    // Without storage it is hidden as long as the page.
  }
}
