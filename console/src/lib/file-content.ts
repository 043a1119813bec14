// The content of a stored file, which the server gives a piece a page.

import { get, type Page } from './api';
import type { FilePiece, StoredFile } from './wire';

/** Its pieces, one after the other; `onpiece` hears how many have come. */
export async function readFile(of: StoredFile, signal: AbortSignal, onpiece: (pieces: number) => void): Promise<Blob> {
  const parts: Blob[] = [];
  for (let cursor: string | undefined; ; ) {
    const page: Page<FilePiece> = await get(`/v2/files/${of.id}/content`, { cursor }, signal);
    for (const { content_base64 } of page.data) parts.push(new Blob([Uint8Array.from(atob(content_base64), (letter) => letter.charCodeAt(0))]));
    onpiece(parts.length);
    // A file's own type would let a page of it run as one of ours: it is saved, never opened.
    if (!page.next_cursor) return new Blob(parts, { type: 'application/octet-stream' });
    cursor = page.next_cursor;
  }
}
