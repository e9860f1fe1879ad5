-- The migration runner makes the schema before the first migration; sqlc needs to be told of it.
CREATE SCHEMA ingest;
