-- What lists are asked for by time: changes since a moment, what ended since then, how much of it went wrong, and what
-- began last. All four grow at their end, so they cost little to write.
CREATE INDEX task_status_updated ON task_status (updated_at);
CREATE INDEX task_status_completed ON task_status (completed_at);
CREATE INDEX task_status_result ON task_status (result_code, completed_at);
CREATE INDEX task_status_started ON task_status (started_at);
