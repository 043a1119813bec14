// The archive of a data export, which the server gives in parts.

import { send } from './api';
import type { DataExport } from './wire';

/** Its parts, one after the other; `onpart` hears how many have come. */
export async function readArchive(of: DataExport, signal: AbortSignal, onpart: (parts: number) => void): Promise<Blob> {
  const parts: Blob[] = [];
  // One by one: the browser may keep them on its disk, and the server opens one at a time.
  while (parts.length < of.parts) {
    const response = await send('GET', `/v2/data-exports/${of.id}/content`, { query: { part: parts.length + 1 }, signal });
    parts.push(await response.blob());
    onpart(parts.length);
  }
  return new Blob(parts, { type: 'application/x-tar' });
}
