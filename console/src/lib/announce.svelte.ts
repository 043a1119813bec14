// One polite live region for the whole console: what happened, said once, and not more often than every few seconds
// where it comes by itself.

class Announcer {
  text = $state('');
  #last = 0;

  /** Says what the person's own act did. */
  say(text: string): void {
    // The same words twice are still two events: a reader speaks only what changes.
    this.text = this.text === text ? `${text} ` : text;
  }

  /** Says what came by itself, at most every ten seconds. */
  murmur(text: string): void {
    const now = Date.now();
    if (now - this.#last < 10_000) return;
    this.#last = now;
    this.say(text);
  }
}

export const announcer = new Announcer();
