// Typed dollars as integer micros: digits are moved, nothing is multiplied.

export function dollars(text: string): number | undefined {
  const found = /^\$?(\d{1,9})(?:\.(\d{1,6}))?$/.exec(text.trim().replaceAll(',', ''));
  if (!found) return undefined;
  const [, whole = '', fraction = ''] = found;
  return Number(whole + fraction.padEnd(6, '0'));
}
