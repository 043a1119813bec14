-- Requests that a node did not answer itself: the backend that did, and why they left.

ALTER TABLE node_records ADD COLUMN left_to TEXT;
ALTER TABLE node_records ADD COLUMN left_because TEXT;
