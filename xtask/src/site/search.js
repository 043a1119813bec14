// The search field of the documentation: fetches the index when it is first used, and lists what is found as links.

import { find, INDEX } from './find-docs.js';

const SHOWN_MAX = 20;
const place = document.querySelector('.search');
const field = place.querySelector('input');
const status = place.querySelector('p');
const list = place.querySelector('ul');
let index;

function load() {
  index ??= fetch(INDEX).then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(answer.statusText))));
  return index;
}

function element(name, text, kind) {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function row({ href, title, page, line }) {
  const link = document.createElement('a');
  link.href = href;
  link.append(element('b', title));
  if (page) link.append(' ', element('span', page, 'page'));
  if (line) link.append(element('span', line, 'line'));
  const item = document.createElement('li');
  item.append(link);
  return item;
}

function counted(found) {
  if (found === 0) return 'Nothing has all these words.';
  if (found > SHOWN_MAX) return `${found} results, the first ${SHOWN_MAX} shown`;
  return found === 1 ? '1 result' : `${found} results`;
}

async function show() {
  const text = field.value;
  let found = [];
  let told = '';
  if (text.trim() !== '') {
    try {
      found = find(await load(), text);
      told = counted(found.length);
    } catch {
      index = undefined;
      told = 'The index of the search could not be loaded.';
    }
  }
  // Typed on while the index came: a later call shows that.
  if (text !== field.value) return;
  list.replaceChildren(...found.slice(0, SHOWN_MAX).map(row));
  status.textContent = told;
}

function step(event) {
  const stops = [field, ...list.querySelectorAll('a')];
  const at = stops.indexOf(document.activeElement);
  if (at < 0) return;
  if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
    stops[at + (event.key === 'ArrowDown' ? 1 : -1)]?.focus();
  } else if (event.key === 'Enter' && at === 0) {
    stops[1]?.click();
  } else if (event.key === 'Escape') {
    field.value = '';
    field.focus();
    void show();
  } else {
    return;
  }
  event.preventDefault();
}

function slash(event) {
  const isTyped = event.target instanceof HTMLInputElement;
  if (event.key !== '/' || isTyped || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  field.focus();
}

field.addEventListener('focus', () => load().catch(() => (index = undefined)));
field.addEventListener('input', show);
place.addEventListener('keydown', step);
document.addEventListener('keydown', slash);
place.hidden = false;
// The browser keeps what was typed when the reader comes back.
if (field.value) void show();
