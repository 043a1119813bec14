-- A workspace may have a policy too, which holds for all of its projects: its row names no project.

ALTER TABLE policies ALTER COLUMN project DROP NOT NULL;
CREATE UNIQUE INDEX policies_of_workspaces ON policies (workspace) WHERE project IS NULL;
