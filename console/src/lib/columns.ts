// The columns of the table of requests: which there are, and which fit.

export interface Column {
  id: string;
  name: string;
  /** As a track of a grid. */
  width: string;
  /** The least that it needs, in pixels. */
  least: number;
  isEnd?: boolean;
  /** From this width of the table on it is shown to who didn't choose; nothing where only who chooses it sees it. */
  from?: number;
}

const GAP = 14;
const NARROW = 0;
const MIDDLE = 900;
const WIDE = 1180;

const fixed = (id: string, name: string, least: number, from?: number, isEnd = true): Column => ({ id, name, width: `${least}px`, least, from, isEnd });
const flexible = (id: string, name: string, least: number, share: number, from?: number): Column => ({ id, name, width: `minmax(${least}px, ${share}fr)`, least, from });

/** Time, status and model always stay. */
export const KEPT = ['time', 'status', 'model'];

export const COLUMNS: Column[] = [
  { id: 'time', name: 'Time', width: 'var(--time)', least: 0, from: NARROW },
  fixed('status', 'Status', 60, NARROW, false),
  flexible('model', 'Model', 120, 2, NARROW),
  flexible('served', 'Served by', 110, 1.5, MIDDLE),
  flexible('key', 'Key', 80, 1, NARROW),
  flexible('project', 'Project', 80, 1),
  flexible('environment', 'Environment', 80, 0.8),
  flexible('operation', 'Operation', 100, 0.8),
  flexible('error', 'Error', 110, 1),
  flexible('region', 'Region', 80, 0.8),
  flexible('tag', 'Tag', 80, 0.8),
  flexible('session', 'Session', 90, 0.8),
  flexible('user', 'End user', 90, 0.8),
  fixed('in', 'In', 62, NARROW),
  fixed('cached', 'Cached', 58, WIDE),
  fixed('out', 'Out', 62, NARROW),
  fixed('cost', 'Cost', 88, NARROW),
  fixed('ttft', 'First byte', 76, MIDDLE),
  fixed('latency', 'Total', 76, NARROW),
  fixed('speed', 'Tok/s', 60, WIDE),
  fixed('tries', 'Tries', 44, WIDE),
];

const BRIEF = ['time', 'status', 'model', 'served', 'key', 'in', 'out', 'cost', 'latency'];

/** Beside the columns: the edges of the table, and the button at the end of each row. */
export const EDGES = 32;
export const ACTS = 26;
/** Which columns give way first between two widths. */
const GIVE_WAY = ['in', 'key', 'cost'];

/** What who didn't choose sees in a table of this width, beside a time so wide; less of it in the corner of another page. */
export function usual(width: number, brief: boolean, time = 0): Column[] {
  let columns = COLUMNS.filter(({ id, from }) => from !== undefined && width > from && (!brief || BRIEF.includes(id)));
  const taken = () => columns.reduce((sum, { least }) => sum + least + GAP, time + EDGES + (brief ? -GAP : ACTS));
  for (const id of GIVE_WAY) if (taken() > width) columns = columns.filter((column) => column.id !== id);
  return columns;
}

/** Those of the chosen columns that fit beside a time so wide; the last ones give way. */
export function fitting(chosen: readonly string[], width: number, time = 0): Column[] {
  let left = width - time;
  return COLUMNS.filter(({ id }) => KEPT.includes(id) || chosen.includes(id)).filter(({ id, least }) => {
    left -= least + GAP;
    return left >= 0 || KEPT.includes(id);
  });
}
