// Stored hints in words.

import { profileLabel } from './series';
import type { StoredHints } from './wire';

const REGIONS: Record<string, string> = { us_only: 'United States only', eu_only: 'European Union only' };
const BOUNDARIES: Record<string, string> = { strict: 'no emergency provider', no_openrouter: 'no emergency provider' };

/** Each field that is stated, as half a sentence. */
export function wishes(hints: StoredHints): string[] {
  const { qos = {}, reuse = {}, routing = {} } = hints;
  const said: string[] = [];
  if (hints.tag) said.push(`tagged ${hints.tag}`);
  if (qos.class) said.push(`class ${qos.class}`);
  if (qos.priority != null) said.push(`priority ${qos.priority}`);
  if (qos.target_ttft_ms) said.push(`first token within ${qos.target_ttft_ms} ms`);
  if (qos.deadline_ms) said.push(`stopped after ${qos.deadline_ms} ms`);
  if (qos.degrade_policy === 'forbid') said.push('no fallback');
  if (reuse.preference) said.push(`response cache: ${reuse.preference}`);
  if (reuse.scope) said.push(`reused within: ${reuse.scope}`);
  const region = REGIONS[routing.region_policy ?? ''];
  if (region) said.push(region);
  if (routing.execution_profiles?.length) said.push(`served by ${routing.execution_profiles.map(profileLabel).join(', ')}`);
  const boundary = BOUNDARIES[routing.data_boundary ?? ''];
  if (boundary) said.push(boundary);
  if (hints.not_honoured.length > 0) said.push(`without effect: ${hints.not_honoured.join(', ')}`);
  return said.length === 0 ? ['no hints'] : said;
}
