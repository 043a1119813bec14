-- Which history the version is of that a data plane has: a control plane that was restored from a backup gives the same numbers
-- to other changes.
ALTER TABLE data_planes ADD COLUMN applied_history TEXT;
