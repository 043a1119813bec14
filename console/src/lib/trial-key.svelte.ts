// The key with which a person who is signed in without one tries models: made by their click, held in memory alone, revoked when
// they sign out, turn to another workspace, or leave the console. Where that is not heard, it ends by itself within a day.

import { post, send } from './api';
import { beforeLeaving } from './session.svelte';
import type { ApiKey } from './wire';

class TrialKey {
  text = $state('');
  #id: string | undefined;

  async make(): Promise<void> {
    const made = await post<ApiKey>('/v2/api-keys', { name: 'playground', scopes: ['inference'], expires_in_days: 1 });
    this.#id = made.id;
    this.text = made.key ?? '';
  }

  async revoke(): Promise<void> {
    const id = this.#id;
    this.#id = undefined;
    this.text = '';
    // It ends by itself where this fails, and whoever leaves is not held up by it.
    if (id) await send('DELETE', `/v2/api-keys/${id}`, { outlives: true }).catch(() => undefined);
  }
}

export const trial = new TrialKey();
beforeLeaving(() => trial.revoke());
addEventListener('pagehide', () => void trial.revoke());
