// Names of the API as people read them.

/** A name's words: `rate_limit` as "rate limit". */
export const plain = (name: string): string => name.replaceAll('_', ' ');

export const capital = (words: string): string => `${words.charAt(0).toUpperCase()}${words.slice(1)}`;
