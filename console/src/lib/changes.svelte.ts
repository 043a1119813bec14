// What changes by itself while a list is seen, for those who hear it.

import { untrack } from 'svelte';
import { announcer } from './announce.svelte';

interface Followed {
  id: string;
  status: string;
}

/** Says when one of them comes to another state. Must be called while a component is set up. */
export function followChanges<T extends Followed>(rows: () => T[], words: (row: T) => string): void {
  const before = new Map<string, string>();
  $effect(() => {
    for (const row of rows()) {
      const last = before.get(row.id);
      before.set(row.id, row.status);
      if (last !== undefined && last !== row.status) untrack(() => announcer.say(words(row)));
    }
  });
}
