-- At the control plane: up to which place of its outbox a data plane's records have arrived. A control plane that was restored from a
-- backup has a lower one, and is sent again what it lost.
ALTER TABLE data_planes ADD COLUMN delivered_place INTEGER;

-- At a data plane: whose records a batch has (without one, those of the workspace that was joined first), and when it was
-- delivered. Delivered batches are kept for a while.
ALTER TABLE data_plane_outbox ADD COLUMN workspace BLOB;
ALTER TABLE data_plane_outbox ADD COLUMN delivered_unix_ms INTEGER;
CREATE INDEX data_plane_outbox_waiting ON data_plane_outbox (place) WHERE delivered_unix_ms IS NULL;
