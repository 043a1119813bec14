// The pages of the console and the paths that lead to them.

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
