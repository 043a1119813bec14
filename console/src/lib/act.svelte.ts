// One write under way: whether it runs, and how it failed.

import { announcer } from './announce.svelte';
import { toApiError, type ApiError } from './api';

export class Act {
  isBusy = $state(false);
  error = $state.raw<ApiError | undefined>(undefined);

  /** Runs it, says what was done, and tells whether it was. */
  async run(act: () => Promise<unknown>, done?: string): Promise<boolean> {
    if (this.isBusy) return false;
    this.isBusy = true;
    this.error = undefined;
    try {
      await act();
      if (done) announcer.say(done);
      return true;
    } catch (error) {
      this.error = toApiError(error);
      return false;
    } finally {
      this.isBusy = false;
    }
  }
}
