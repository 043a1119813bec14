// Keys of the whole console. Letters alone can be turned off, and never act while somebody types.

import { PAGES } from './pages';
import { preferences } from './preferences.svelte';
import { link, navigate } from './router.svelte';

class Overlay {
  open = $state<'palette' | 'help' | undefined>(undefined);
}

export const overlay = new Overlay();

/** When `g` was pressed; long ago where it was not. */
let wentAt = -Infinity;

export function keydown(event: KeyboardEvent): void {
  if ((event.metaKey || event.ctrlKey) && !event.altKey && event.key.toLowerCase() === 'k') {
    event.preventDefault();
    overlay.open = overlay.open === 'palette' ? undefined : 'palette';
    return;
  }
  if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey || !preferences.letters || overlay.open || isTyping(event.target)) return;
  const go = event.timeStamp - wentAt < 1_200;
  wentAt = -Infinity;
  if (go) {
    const page = PAGES.find((one) => one.letter === event.key);
    if (page) {
      event.preventDefault();
      navigate(link(page.path));
    }
    return;
  }
  if (event.key === 'g') wentAt = event.timeStamp;
  else if (event.key === '?') overlay.open = 'help';
  else if (event.key === '/') focus(event, '#filter');
  else if (event.key === 't') press(event, '#range');
}

function focus(event: KeyboardEvent, selector: string): void {
  const found = document.querySelector<HTMLElement>(selector);
  if (!found) return;
  event.preventDefault();
  found.focus();
}

function press(event: KeyboardEvent, selector: string): void {
  const found = document.querySelector<HTMLElement>(selector);
  if (!found) return;
  event.preventDefault();
  found.focus();
  found.click();
}

export function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName) || target.closest('dialog') !== null);
}
