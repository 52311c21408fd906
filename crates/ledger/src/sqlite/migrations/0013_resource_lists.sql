-- How many machines a tenant has, and a page of them, without reading all of them: the index has what such lists ask for,
-- and their order to the end.

DROP INDEX resources_of_tenant;
CREATE INDEX resources_of_tenant ON resources (tenant, created_at, id, kind, ended_at);
