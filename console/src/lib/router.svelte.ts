// The address bar is the state: which page, of what, filtered how.

import { pathParameters } from './paths';

class Place {
  path = $state(location.pathname);
  search = $state(location.search);
  query = $derived(new URLSearchParams(this.search));
  /** Counts visits, so that a page is told apart from the same page visited again. */
  visit = $state(0);

  get href(): string {
    return this.path + this.search;
  }
}

export const place = new Place();

let wantsFocus = false;

function arrive(scroll: number, went?: string): void {
  const moved = place.path !== location.pathname;
  place.path = location.pathname;
  place.search = location.search;
  if (!moved) return;
  place.visit += 1;
  wantsFocus = true;
  scrollBack(scroll, went);
}

/** After a change of page the keyboard and the screen reader start at its heading, once that is there. */
export function pageStart(heading: HTMLElement): void {
  if (!wantsFocus) return;
  wantsFocus = false;
  heading.focus({ preventScroll: true });
}

/** How long a page that was left may take to become as long as it was. */
const LONG_AGAIN_MS = 30_000;
/** How long the link that was followed may take to be there again. */
const SEEK_MS = 5_000;
let scrolling = new AbortController();

/** Back to where a page was left, and the keyboard to the link that was followed: once its list is there again, unless the reader acts before. */
function scrollBack(to: number, went: string | undefined): void {
  scrolling.abort();
  scrolling = new AbortController();
  const { signal } = scrolling;
  const stop = () => scrolling.abort();
  for (const act of ['wheel', 'touchstart', 'pointerdown', 'keydown']) addEventListener(act, stop, { signal, passive: true });
  const until = performance.now() + LONG_AGAIN_MS;
  const seekUntil = performance.now() + SEEK_MS;
  let isSought = went !== undefined;
  const scroll = () => {
    if (signal.aborted) return;
    scrollTo(0, to);
    const followed = isSought && !wantsFocus ? document.querySelector<HTMLElement>(`main a[href="${CSS.escape(went ?? '')}"]`) : null;
    if (followed) {
      followed.focus({ preventScroll: true });
    }
    isSought &&= followed === null && performance.now() < seekUntil;
    // The page that is left may be long enough; what counts is the one whose heading has come.
    if ((!isSought && (to === 0 || (!wantsFocus && Math.abs(scrollY - to) <= 2))) || performance.now() >= until) stop();
    else requestAnimationFrame(scroll);
  };
  scroll();
}

function wentBack(event: PopStateEvent): void {
  const state: unknown = event.state;
  const left = typeof state === 'object' && state !== null && 'scroll' in state ? Number(state.scroll) : 0;
  const went: unknown = typeof state === 'object' && state !== null && 'went' in state ? state.went : undefined;
  arrive(Number.isFinite(left) ? left : 0, typeof went === 'string' ? went : undefined);
}

export function navigate(href: string, options: { replace?: boolean } = {}): void {
  if (href === place.href) return;
  if (options.replace) {
    history.replaceState(history.state, '', href);
  } else {
    history.replaceState({ scroll: scrollY, went: href }, '');
    history.pushState(null, '', href);
  }
  arrive(0);
}

export type Parameters = Record<string, string | undefined>;

/** What every page shares: a link to another page keeps the span of time that is looked at. */
const SHARED = ['range', 'from', 'to'];

export function link(path: string, parameters: Parameters = {}): string {
  const query = new URLSearchParams();
  const replaced = SHARED.some((name) => name in parameters);
  for (const name of SHARED) {
    const value = place.query.get(name);
    if (value !== null && !replaced) query.set(name, value);
  }
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== '') query.set(name, value);
  }
  const text = query.toString();
  return text === '' ? path : `${path}?${text}`;
}

/** This page with some parameters changed; `undefined` takes one away. */
export function here(changes: Parameters): string {
  const query = new URLSearchParams(place.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined || value === '') query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  return text === '' ? place.path : `${place.path}?${text}`;
}

export function parameters(pattern: string): string[] | undefined {
  return pathParameters(pattern, place.path);
}

/** Follows links inside the console without loading the page anew. */
export function listen(): () => void {
  const clicked = (event: MouseEvent) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const anchor = event.target instanceof Element ? event.target.closest('a') : null;
    const href = anchor?.getAttribute('href');
    if (!anchor || !href?.startsWith('/') || href.startsWith('/v') || anchor.target || anchor.hasAttribute('download')) return;
    event.preventDefault();
    navigate(href);
  };
  history.scrollRestoration = 'manual';
  addEventListener('popstate', wentBack);
  document.addEventListener('click', clicked);
  return () => {
    removeEventListener('popstate', wentBack);
    document.removeEventListener('click', clicked);
  };
}
