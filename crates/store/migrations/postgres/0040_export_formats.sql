-- The format of a data export's files: jsonl or parquet.

ALTER TABLE data_exports ADD COLUMN format TEXT NOT NULL DEFAULT 'jsonl';
