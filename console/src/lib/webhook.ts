// How webhooks are shown to people, by their format.

import type { Webhook } from './wire';

interface Format {
  option: string;
  /** Beside the address in a list. */
  badge?: string;
  /** What its receiver gets of each event. */
  sent: string;
  /** What the address looks like, and what to know of it. */
  example: string;
  hint: string;
}

export const FORMATS: Record<Webhook['format'], Format> = {
  standard: { option: 'Signed documents (Standard Webhooks)', sent: 'signed documents', example: 'https://example.com/tidegate', hint: 'HTTPS on port 443 or 8443' },
  slack: { option: 'Slack messages', badge: 'Slack', sent: 'Slack messages', example: 'https://hooks.slack.com/services/…', hint: 'An incoming webhook URL. Anyone who has it can post to the channel, so it’s encrypted.' },
  email: { option: 'Email to a member', badge: 'Email', sent: 'emails', example: 'ann@acme.example', hint: 'The email address of a member of this workspace' },
};

/** Where its events go: an email address without the scheme that makes it a link. */
export function receiver(webhook: Pick<Webhook, 'format' | 'url'>): string {
  return webhook.format === 'email' ? webhook.url.replace(/^mailto:/, '') : webhook.url;
}
