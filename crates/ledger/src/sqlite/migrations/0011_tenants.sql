-- Tenants are deleted by a mark: what happened in them stays known.

ALTER TABLE tenants ADD COLUMN ended_at INTEGER;
