import { expect, test } from 'vitest';
import { COLUMNS, fitting, usual } from './columns';

const ids = (columns: { id: string }[]) => columns.map(({ id }) => id);

test('a wider table shows more', () => {
  expect(ids(usual(1400, false))).toEqual(['time', 'status', 'model', 'served', 'key', 'in', 'cached', 'out', 'cost', 'ttft', 'latency', 'speed', 'tries']);
  expect(ids(usual(1000, false))).toEqual(['time', 'status', 'model', 'served', 'key', 'in', 'out', 'cost', 'ttft', 'latency']);
  expect(ids(usual(800, false))).toEqual(['time', 'status', 'model', 'key', 'in', 'out', 'cost', 'latency']);
  expect(ids(usual(1400, true))).not.toContain('ttft');
  // Between two widths nothing is wider than the table.
  expect(ids(usual(744, false, 66))).toEqual(['time', 'status', 'model', 'key', 'out', 'cost', 'latency']);
  expect(ids(usual(641, false, 120))).toEqual(['time', 'status', 'model', 'out', 'latency']);
});

test('chosen columns keep their order, and the last ones give way where there is no room', () => {
  expect(ids(fitting(['cost', 'error'], 1400))).toEqual(['time', 'status', 'model', 'error', 'cost']);
  expect(ids(fitting(['cost', 'error'], 500, 146))).toEqual(['time', 'status', 'model', 'error']);
  expect(ids(fitting(ids(COLUMNS), 100))).toEqual(['time', 'status', 'model']);
});
