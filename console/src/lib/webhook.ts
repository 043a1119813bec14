// How a webhook is named to people.

import type { Webhook } from './wire';

/** Where its events go: an address of mail without the scheme that makes it a link. */
export function receiver(webhook: Pick<Webhook, 'format' | 'url'>): string {
  return webhook.format === 'email' ? webhook.url.replace(/^mailto:/, '') : webhook.url;
}

/** What it gets of each event. */
export const SENT: Record<Webhook['format'], string> = { standard: 'signed documents', slack: 'Slack messages', email: 'mails' };
