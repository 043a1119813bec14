// What `/v2` answers, one file for each resource.

export type * from './aliases';
export type * from './batches';
export type * from './billing';
export type * from './contents';
export type * from './credentials';
export type * from './data-path';
export type * from './erasures';
export type * from './exports';
export type * from './health';
export type * from './hints';
export type * from './holds';
export type * from './models';
export type * from './nodes';
export type * from './plan';
export type * from './policies';
export type * from './purges';
export type * from './reconciliation';
export type * from './requests';
export type * from './routes';
export type * from './sessions';
export type * from './tasks';
export type * from './tools';
export type * from './training';
export type * from './usage';
export type * from './webhooks';
export type * from './workspaces';
