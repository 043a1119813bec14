// A dry run in words.

import type { DryRunPlace } from './wire';

/** What serves first, or the error in its place. */
export function placeWords(place: DryRunPlace): string {
  if (place.error) return `refused (${place.error.code})`;
  const region = place.region ? ` in ${place.region}` : '';
  return `${place.model ?? ''} at ${place.provider ?? ''}${region}, ${place.profile ?? ''} ${place.principal ?? ''}`.trim();
}
