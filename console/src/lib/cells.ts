// Tables on any screen: each cell knows the name of its column, so that a row can be a card, and columns can be left out.

import type { Attachment } from 'svelte/attachments';

/** The name of a column, by its heading. */
function nameOf(heading: HTMLElement): string {
  return heading.dataset.name ?? heading.textContent.trim();
}

function mark(table: HTMLTableElement, without: ReadonlySet<string>): void {
  const headings = [...(table.tHead?.rows[0]?.cells ?? [])];
  const names = headings.map(nameOf);
  for (const row of table.rows) {
    row.setAttribute('role', 'row');
    if (row.cells.length !== names.length) continue;
    for (const [at, cell] of [...row.cells].entries()) {
      const name = names[at] ?? '';
      const isHead = row.parentElement === table.tHead;
      // A cell that is laid out as a block would be no cell any more for a screen reader.
      cell.setAttribute('role', isHead ? 'columnheader' : cell.tagName === 'TH' ? 'rowheader' : 'cell');
      if (!isHead) cell.dataset.label = name;
      cell.toggleAttribute('data-off', without.has(name));
    }
  }
}

/** Goes on a table with one row of headings; `without` are the columns that aren't shown. */
export function cells(without: readonly string[] = []): Attachment<HTMLTableElement> {
  return (table) => {
    const left = new Set(without);
    table.setAttribute('role', 'table');
    for (const body of [...table.tBodies, ...(table.tFoot ? [table.tFoot] : [])]) body.setAttribute('role', 'rowgroup');
    mark(table, left);
    const watched = new MutationObserver(() => mark(table, left));
    watched.observe(table, { childList: true, subtree: true });
    return () => watched.disconnect();
  };
}
