// What is typed into forms, and what it means.

/** Words that commas, spaces or lines separate. */
export const words = (text: string): string[] => text.split(/[\s,]+/).filter(Boolean);
