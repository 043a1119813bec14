// One write under way: whether it runs, and how it failed.

import { announcer } from './announce.svelte';
import { toApiError, type ApiError, type Query } from './api';

export class Act {
  isBusy = $state(false);
  error = $state.raw<ApiError | undefined>(undefined);
  /** Why a change is made that moves traffic onto a node without a report. */
  reason = $state('');
  /** It was refused for want of a report: the reason is what a next try takes along. */
  needsReport = $state(false);

  /** What a write takes along that moves traffic. */
  get override(): Query {
    return this.needsReport ? { override_reason: this.reason.trim() } : {};
  }

  /** The field that the server found wrong, without the place in it. */
  get field(): string {
    return /^\w+/.exec(this.error?.field ?? '')?.[0] ?? '';
  }

  /** What is wrong with one of these fields, and what mends it. */
  wrongWith(...fields: string[]): string | undefined {
    return this.error && fields.includes(this.field) ? [this.error.message, this.error.fix].filter(Boolean).join(' ') : undefined;
  }

  /** What is wrong with one entry of a field that is a list. What concerns all of them is shown at the first. */
  wrongWithEntry(field: string, at: number): string | undefined {
    return Number(/\[(\d+)\]/.exec(this.error?.field ?? '')?.[1] ?? 0) === at ? this.wrongWith(field) : undefined;
  }

  /** Runs it, says what was done, and tells whether it was. */
  async run(act: () => Promise<unknown>, done?: string): Promise<boolean> {
    if (this.isBusy) return false;
    this.isBusy = true;
    this.error = undefined;
    try {
      await act();
      this.needsReport = false;
      this.reason = '';
      if (done) announcer.say(done);
      return true;
    } catch (error) {
      this.error = toApiError(error);
      // What is wrong with the reason is mended by another one.
      this.needsReport = this.error.code === 'replay_required' || (this.needsReport && this.field === 'override_reason');
      return false;
    } finally {
      this.isBusy = false;
    }
  }
}
