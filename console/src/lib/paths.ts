// The pages of the console and the paths that lead to them.

const PLACES: Record<string, string> = { pcr: '/credentials/', node: '/nodes/', acc: '/accounts/' };

/** The page of a credential, a node or an account by its id; subscriptions are listed with credentials. */
export function pageOf(id: string): string | undefined {
  const kind = id.slice(0, id.indexOf('_'));
  if (kind === 'sub') return '/credentials';
  return PLACES[kind] && PLACES[kind] + id;
}

/** The values of a pattern's `:names`, or nothing where the path is another one. */
export function pathParameters(pattern: string, path: string): string[] | undefined {
  const wanted = pattern.split('/');
  const given = path.split('/');
  if (wanted.length !== given.length) return undefined;
  const found: string[] = [];
  for (const [at, part] of wanted.entries()) {
    const have = given[at] ?? '';
    if (part.startsWith(':')) {
      if (have === '') return undefined;
      found.push(decoded(have));
    } else if (part !== have) {
      return undefined;
    }
  }
  return found;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
