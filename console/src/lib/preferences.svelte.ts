// What a person likes, kept on this device.

type Theme = 'system' | 'light' | 'dark';
type Density = 'compact' | 'normal' | 'roomy';

const PREFIX = 'tidegate.';
const DARK = '(prefers-color-scheme: dark)';

function load<T extends string>(name: string, allowed: readonly T[], standard: T): T {
  try {
    const found = localStorage.getItem(PREFIX + name) as T | null;
    return found !== null && allowed.includes(found) ? found : standard;
  } catch {
    return standard;
  }
}

function save(name: string, value: string): void {
  try {
    localStorage.setItem(PREFIX + name, value);
  } catch {
    // Without storage a preference lasts as long as the page.
  }
}

class Preferences {
  theme = $state<Theme>(load('theme', ['system', 'light', 'dark'], 'system'));
  density = $state<Density>(load('density', ['compact', 'normal', 'roomy'], 'normal'));
  utc = $state(load('clock', ['local', 'utc'], 'local') === 'utc');
  letters = $state(load('letters', ['on', 'off'], 'on') === 'on');
  rail = $state<'wide' | 'slim'>(load('rail', ['wide', 'slim'], 'wide'));
  /** Changes whenever colours may have: a canvas paints itself anew then. */
  painted = $state(0);

  constructor() {
    for (const query of [DARK, '(forced-colors: active)', '(prefers-contrast: more)']) {
      matchMedia(query).addEventListener('change', () => this.#apply());
    }
    this.#apply();
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    save('theme', theme);
    this.#apply();
  }

  setDensity(density: Density): void {
    this.density = density;
    save('density', density);
    this.#apply();
  }

  setUtc(utc: boolean): void {
    this.utc = utc;
    save('clock', utc ? 'utc' : 'local');
  }

  setLetters(on: boolean): void {
    this.letters = on;
    save('letters', on ? 'on' : 'off');
  }

  setRail(rail: 'wide' | 'slim'): void {
    this.rail = rail;
    save('rail', rail);
  }

  #apply(): void {
    const root = document.documentElement;
    root.dataset.theme = this.theme === 'system' ? (matchMedia(DARK).matches ? 'dark' : 'light') : this.theme;
    root.dataset.density = this.density;
    this.painted += 1;
  }
}

export const preferences = new Preferences();
