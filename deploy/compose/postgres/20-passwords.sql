-- By files that only psql reads: no password is in an argument or a variable.
\set password `cat /run/secrets/exporter-password`
ALTER ROLE phasegate_exporter PASSWORD :'password';
\set password `cat /run/secrets/validator-password`
ALTER ROLE phasegate_validator PASSWORD :'password';
\set password `cat /run/secrets/migrator-password`
ALTER ROLE phasegate_migrator PASSWORD :'password';
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
