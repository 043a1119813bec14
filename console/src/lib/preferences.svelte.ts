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

/** What is kept as JSON; anything else that stands there is as nothing. */
function loadRecord<T>(name: string, isOne: (value: unknown) => value is T): Record<string, T> {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(PREFIX + name) ?? '{}');
    if (typeof found !== 'object' || found === null) return {};
    return Object.fromEntries(Object.entries(found).filter((entry): entry is [string, T] => isOne(entry[1])));
  } catch {
    return {};
  }
}

export interface SavedView {
  name: string;
  /** The query of the page. */
  search: string;
}

const isWords = (value: unknown): value is string[] => Array.isArray(value) && value.every((one) => typeof one === 'string');
const isView = (value: unknown): value is SavedView => typeof value === 'object' && value !== null && 'name' in value && 'search' in value && typeof value.name === 'string' && typeof value.search === 'string';
const areViews = (value: unknown): value is SavedView[] => Array.isArray(value) && value.every(isView);

class Preferences {
  theme = $state<Theme>(load('theme', ['system', 'light', 'dark'], 'system'));
  density = $state<Density>(load('density', ['compact', 'normal', 'roomy'], 'normal'));
  utc = $state(load('clock', ['local', 'utc'], 'local') === 'utc');
  letters = $state(load('letters', ['on', 'off'], 'on') === 'on');
  rail = $state<'wide' | 'slim'>(load('rail', ['wide', 'slim'], 'wide'));
  /** By the name of a table: the columns that a person chose, of one that has a choice. */
  columns = $state.raw<Record<string, string[]>>(loadRecord('columns', isWords));
  /** By the path of a page: its views that a person saved. */
  views = $state.raw<Record<string, SavedView[]>>(loadRecord('views', areViews));
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

  /** `undefined` is what everybody sees first. */
  setColumns(table: string, columns: string[] | undefined): void {
    const { [table]: _, ...others } = this.columns;
    this.columns = columns === undefined ? others : { ...others, [table]: columns };
    save('columns', JSON.stringify(this.columns));
  }

  setViews(path: string, views: SavedView[]): void {
    this.views = { ...this.views, [path]: views };
    save('views', JSON.stringify(this.views));
  }

  #apply(): void {
    const root = document.documentElement;
    root.dataset.theme = this.theme === 'system' ? (matchMedia(DARK).matches ? 'dark' : 'light') : this.theme;
    root.dataset.density = this.density;
    this.painted += 1;
  }
}

export const preferences = new Preferences();
