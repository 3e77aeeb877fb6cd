-- What is the database's own and in no dump of it, and what binds a name to one database.

-- name: bound
-- What would stay behind with the old one: replication slots, subscriptions, prepared transactions.
SELECT 'logical replication slot ' || slot_name
FROM pg_replication_slots
WHERE database = current_database()
UNION ALL
SELECT 'subscription ' || s.subname
FROM pg_subscription AS s
JOIN pg_database AS d ON d.oid = s.subdbid
WHERE d.datname = current_database()
UNION ALL
SELECT 'prepared transaction ' || gid
FROM pg_prepared_xacts
WHERE database = current_database();

-- name: database
SELECT
    pg_get_userbyid(d.datdba)::text,
    pg_encoding_to_char(d.encoding)::text,
    t.spcname::text,
    d.datconnlimit,
    d.datistemplate,
    to_jsonb(d) ->> 'datcollate',
    to_jsonb(d) ->> 'datctype',
    COALESCE(to_jsonb(d) ->> 'datlocprovider', 'c'),
    COALESCE(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
    to_jsonb(d) ->> 'daticurules',
    shobj_description(d.oid, 'pg_database'),
    d.datacl IS NOT NULL
FROM pg_database AS d
JOIN pg_tablespace AS t ON t.oid = d.dattablespace
WHERE d.datname = current_database();

-- name: grants
SELECT
    CASE WHEN a.grantee = 0 THEN NULL ELSE pg_get_userbyid(a.grantee)::text END,
    a.privilege_type::text,
    a.is_grantable
FROM pg_database AS d
CROSS JOIN aclexplode(d.datacl) AS a
WHERE d.datname = current_database()
ORDER BY 1, 2;

-- name: settings
SELECT
    CASE WHEN s.setrole = 0 THEN NULL ELSE pg_get_userbyid(s.setrole)::text END,
    split_part(c.one, '=', 1),
    substr(c.one, strpos(c.one, '=') + 1)
FROM pg_db_role_setting AS s
JOIN pg_database AS d ON d.oid = s.setdatabase
CROSS JOIN unnest(s.setconfig) AS c (one)
WHERE d.datname = current_database();

-- name: terminate
SELECT count(pg_terminate_backend(pid))
FROM pg_stat_activity
WHERE datname = %s AND pid <> pg_backend_pid();

-- name: left
SELECT datname::text FROM pg_database WHERE starts_with(datname::text, %s) ORDER BY datname;
