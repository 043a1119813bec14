// The key with which a person who is signed in without one tries models: made by their click, held in memory alone, revoked when
// they sign out, turn to another workspace, or leave the console. Where that is not heard, it ends by itself within a day.

import { send } from './api';
import { PLAYGROUND } from './checklist';
import { newKey } from './new-key';
import { beforeLeaving } from './session.svelte';

class TrialKey {
  text = $state('');
  /** The project that it was made for, where one was named. */
  project = $state<string | undefined>(undefined);
  #id: string | undefined;

  /** Of a project that is looked at, where that matters. There is one at a time. */
  async make(project?: string): Promise<void> {
    await this.revoke();
    const made = await newKey({ name: PLAYGROUND, scopes: ['inference'], expires_in_days: 1, project_id: project });
    this.#id = made.id;
    this.text = made.key ?? '';
    this.project = project;
  }

  async revoke(): Promise<void> {
    const id = this.#id;
    this.#id = undefined;
    this.text = '';
    this.project = undefined;
    // It ends by itself where this fails, and whoever leaves is not held up by it.
    if (id) await send('DELETE', `/v2/api-keys/${id}`, { outlives: true }).catch(() => undefined);
  }
}

export const trial = new TrialKey();
beforeLeaving(() => trial.revoke());
addEventListener('pagehide', () => void trial.revoke());
