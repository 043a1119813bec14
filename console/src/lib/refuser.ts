// What refused a request, or what it failed at, as links to where that is mended.

import { term } from './filter';
import type { Exchange } from './wire';

export interface Way {
  name: string;
  href: string;
}

type Failed = Pick<Exchange, 'error' | 'error_code' | 'error_class' | 'requested_model' | 'project_id' | 'key_id' | 'alias'> & { attempts: readonly { principal: string }[] };

const OF_KEYS = ['insufficient_scope', 'ip_not_allowed', 'expired_api_key', 'revoked_api_key', 'invalid_api_key'];
const OF_MODELS = ['model_not_found', 'model_not_served', 'model_ambiguous', 'model_modality'];
const OF_CREDENTIALS = ['upstream_auth', 'upstream_permission', 'upstream_quota', 'upstream_not_found'];

function ofObject(object: string, id: string): Way | undefined {
  switch (object) {
    case 'budget':
      return { name: 'View budget', href: `/budgets?id=${id}` };
    case 'credit':
      return { name: 'View credit', href: '/billing' };
    case 'route':
      return { name: 'View route', href: `/routes/${id}` };
    case 'policy':
      return { name: 'View policy', href: '/policies' };
    default:
      return undefined;
  }
}

/** The credential or the node that the last attempt went through. */
function ofPrincipal(id: string | undefined): Way | undefined {
  if (id?.startsWith('pcr_')) return { name: 'View credential', href: `/credentials/${id}` };
  if (id?.startsWith('node_')) return { name: 'View node', href: `/nodes/${id}` };
  return undefined;
}

/** Where to look, what refused it first. */
export function ways(one: Failed): Way[] {
  const found: (Way | undefined)[] = [];
  const code = one.error_code ?? '';
  const by = one.error?.refused_by;
  if (by) found.push(ofObject(by.object, by.id));
  const isOurs = one.attempts.length === 0;
  if (by?.object === 'policy' && one.project_id) found.push({ name: 'View project', href: `/projects/${one.project_id}` });
  if (isOurs && (OF_KEYS.includes(code) || one.error_class === 'limited') && one.key_id?.startsWith('key_')) {
    found.push({ name: 'View key', href: '/keys?show=all' }, { name: 'View project', href: `/projects/${one.project_id}` });
  }
  if (OF_MODELS.includes(code)) {
    if (one.alias) found.push({ name: 'View alias', href: `/aliases/${encodeURIComponent(one.alias.name)}` });
    found.push({ name: 'Find a model', href: `/models?find=${encodeURIComponent(one.requested_model)}` });
  }
  if (!isOurs && (OF_CREDENTIALS.includes(one.error_class ?? '') || one.attempts.at(-1)?.principal.startsWith('node_'))) found.push(ofPrincipal(one.attempts.at(-1)?.principal));
  return found.filter((way): way is Way => way !== undefined);
}

/** Filters of requests that failed in the same way, the widest first. */
export function similar(one: Failed): { name: string; filter: string }[] {
  if (!one.error_code) return [];
  const error = term('error', one.error_code);
  const model = term('model', one.requested_model);
  return [
    { name: 'with this error', filter: error },
    { name: 'and this model', filter: `${error} ${model}` },
    ...(one.key_id ? [{ name: 'and this key', filter: `${error} ${term('key', one.key_id)}` }] : []),
  ];
}
