-- Starts inside transactions of callers. See the migration for PostgreSQL for the why.
--
-- Everything here only adds: workers of the release before claim such runs too, but count their time from the start.

ALTER TABLE runs ADD COLUMN begins_at_claim INTEGER NOT NULL DEFAULT 0;
