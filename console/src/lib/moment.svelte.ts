// The time, as far as pages depend on it: it moves every ten seconds, and stands still while nobody looks.

class Now {
  ms = $state(Date.now());

  constructor() {
    setInterval(() => {
      if (!document.hidden) this.ms = Date.now();
    }, 10_000);
  }
}

export const now = new Now();
