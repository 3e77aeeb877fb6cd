-- Reads of the catalog alone: no lock on any user's table but what pg_get_…def takes for a moment.

-- name: server
SELECT
    current_setting('server_version_num')::int,
    current_database()::text,
    extract(epoch FROM clock_timestamp())::double precision,
    current_user::text,
    r.rolsuper,
    r.rolsuper OR r.rolbypassrls,
    COALESCE((
        SELECT array_agg(e.evtname::text ORDER BY e.evtname)
        FROM pg_event_trigger AS e
        WHERE e.evtenabled <> 'D'
    ), '{}'),
    COALESCE((
        SELECT array_agg(m.rolname::text)
        FROM pg_roles AS m
        WHERE pg_has_role(current_user, m.oid, 'USAGE')
    ), '{}'),
    pg_is_in_recovery()
FROM pg_roles AS r
WHERE r.rolname = current_user;

-- name: identity
-- Which server and database, as evidence spells it; needs pg_monitor.
SELECT concat_ws(
    '/',
    s.system_identifier,
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int,
    current_database()
)
FROM pg_control_system() AS s;

-- name: functions
-- In our own schema, and whatever a trigger calls.
SELECT
    n.nspname::text,
    p.proname::text,
    pg_get_function_identity_arguments(p.oid),
    encode(sha256(convert_to(pg_get_functiondef(p.oid), 'UTF8')), 'hex'),
    pg_get_userbyid(p.proowner)::text,
    p.prosrc,
    p.prosecdef,
    COALESCE(p.proconfig, '{}')
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE p.prokind = 'f'
    AND (
        n.nspname = 'phasegate'
        OR n.nspname NOT IN ('pg_catalog', 'information_schema')
        AND p.prorettype = 'trigger'::regtype
    );

-- name: names
-- What stands beside the named tables and has a name that one made of theirs could have.
SELECT DISTINCT n.nspname::text, c.relname::text
FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS asked (schema, name)
JOIN pg_namespace AS n ON n.nspname = asked.schema
JOIN pg_class AS c ON c.relnamespace = n.oid AND starts_with(c.relname, left(asked.name, 12));

-- name: default_grantees
SELECT DISTINCT CASE WHEN x.grantee = 0 THEN '' ELSE pg_get_userbyid(x.grantee)::text END
FROM pg_default_acl AS d
CROSS JOIN aclexplode(d.defaclacl) AS x
WHERE d.defaclobjtype = 'r' AND d.defaclrole = (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = current_user)
    AND x.grantee <> d.defaclrole
ORDER BY 1;

-- name: detached
-- Tables of a schema that are no partition, and whose comment begins so.
SELECT n.nspname::text, c.relname::text
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_description AS d
    ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid AND d.objsubid = 0
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND starts_with(d.description, %(mark)s)
ORDER BY c.relname;

-- name: relations
WITH RECURSIVE named AS (
    SELECT c.oid
    FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS asked (schema, name)
    JOIN pg_namespace AS n ON n.nspname = asked.schema
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = asked.name
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
),
linked AS (
    SELECT oid FROM named
    UNION
    SELECT CASE WHEN k.conrelid = d.oid THEN k.confrelid ELSE k.conrelid END
    FROM named AS d
    JOIN pg_constraint AS k ON k.contype = 'f' AND d.oid IN (k.conrelid, k.confrelid)
),
tree AS (
    SELECT oid FROM linked
    UNION
    SELECT i.inhrelid
    FROM tree AS t
    JOIN pg_inherits AS i ON i.inhparent = t.oid
)
SELECT json_build_object(
    'name', json_build_array(n.nspname, c.relname),
    'oid', c.oid::bigint,
    'kind', c.relkind,
    'persistence', c.relpersistence,
    'owner', pg_get_userbyid(c.relowner),
    'rows', c.reltuples::bigint,
    'bytes', CASE WHEN c.relkind IN ('r', 'm') THEN (
        SELECT COALESCE(sum(s.relpages), 0)::bigint * current_setting('block_size')::bigint
        FROM pg_class AS s
        WHERE s.oid = c.oid OR s.oid = c.reltoastrelid
            OR s.oid IN (SELECT x.indexrelid FROM pg_index AS x WHERE x.indrelid = c.oid)
    ) ELSE 0 END,
    'pages', c.relpages,
    'row_security', c.relrowsecurity,
    'forced_row_security', c.relforcerowsecurity,
    'replica_identity', c.relreplident,
    'grants', COALESCE((
        SELECT json_agg(json_build_array(
            CASE WHEN x.grantee = 0 THEN '' ELSE pg_get_userbyid(x.grantee) END,
            x.privilege_type, x.is_grantable
        ))
        FROM aclexplode(c.relacl) AS x
        WHERE x.grantee <> c.relowner
    ), '[]'::json),
    'options', COALESCE((SELECT json_agg(o) FROM unnest(c.reloptions) AS o), '[]'::json),
    'tablespace', COALESCE((SELECT s.spcname FROM pg_tablespace AS s WHERE s.oid = c.reltablespace), ''),
    'comment', COALESCE(obj_description(c.oid, 'pg_class'), ''),
    'of_type', CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) ELSE '' END,
    'peculiar', CASE WHEN c.oid IN (SELECT oid FROM named) AND c.relkind = 'r' THEN COALESCE((
        SELECT json_agg(p.what ORDER BY p.what)
        FROM (
            SELECT 'its owner may create nothing in its schema' AS what
            WHERE NOT has_schema_privilege(c.relowner, n.oid, 'CREATE')
            UNION ALL
            SELECT 'it is not stored as a heap' WHERE c.relam <> (SELECT m.oid FROM pg_am AS m WHERE m.amname = 'heap')
            UNION ALL
            SELECT 'it or an index of it lies in a tablespace of its own'
            WHERE c.reltablespace <> 0 OR EXISTS (
                SELECT FROM pg_index AS x JOIN pg_class AS xc ON xc.oid = x.indexrelid
                WHERE x.indrelid = c.oid AND xc.reltablespace <> 0
            )
            UNION ALL
            SELECT 'its TOAST table has options' FROM pg_class AS o
            WHERE o.oid = c.reltoastrelid AND o.reloptions IS NOT NULL
            UNION ALL
            SELECT format('it is clustered on %%I', xc.relname)
            FROM pg_index AS x JOIN pg_class AS xc ON xc.oid = x.indexrelid
            WHERE x.indrelid = c.oid AND x.indisclustered
            UNION ALL
            SELECT format('its index %%I has a target of statistics', xc.relname)
            FROM pg_index AS x
            JOIN pg_class AS xc ON xc.oid = x.indexrelid
            JOIN pg_attribute AS xa ON xa.attrelid = xc.oid
            WHERE x.indrelid = c.oid AND COALESCE(xa.attstattarget, -1) >= 0 AND xa.attnum > 0
            UNION ALL
            SELECT format('a right on its column %%I may be passed on', a.attname)
            FROM pg_attribute AS a CROSS JOIN aclexplode(a.attacl) AS x
            WHERE a.attrelid = c.oid AND NOT a.attisdropped AND x.is_grantable
            UNION ALL
            SELECT 'its owner lacks rights on it'
            WHERE c.relacl IS NOT NULL AND EXISTS (
                SELECT x.privilege_type FROM aclexplode(acldefault('r', c.relowner)) AS x WHERE x.grantee = c.relowner
                EXCEPT
                SELECT x.privilege_type FROM aclexplode(c.relacl) AS x WHERE x.grantee = c.relowner
            )
            UNION ALL
            SELECT format('its column %%I owns more than one sequence', a.attname)
            FROM pg_depend AS o
            JOIN pg_class AS sc ON sc.oid = o.objid AND sc.relkind = 'S'
            JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = o.refobjsubid
            WHERE o.classid = 'pg_class'::regclass AND o.refclassid = 'pg_class'::regclass
                AND o.refobjid = c.oid AND o.deptype IN ('a', 'i')
            GROUP BY a.attname
            HAVING count(*) > 1
            UNION ALL
            SELECT format('the sequence of its column %%I has a comment', a.attname)
            FROM pg_depend AS o
            JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = o.refobjsubid AND a.attidentity <> ''
            JOIN pg_class AS sc ON sc.oid = o.objid AND sc.relkind = 'S'
            WHERE o.classid = 'pg_class'::regclass AND o.refclassid = 'pg_class'::regclass
                AND o.refobjid = c.oid AND o.deptype = 'i' AND obj_description(sc.oid, 'pg_class') IS NOT NULL
            UNION ALL
            SELECT 'a trigger of its foreign keys does not fire as usual' FROM pg_trigger AS g
            WHERE g.tgrelid = c.oid AND g.tgisinternal AND g.tgenabled <> 'O'
            UNION ALL
            SELECT 'it carries a security label' FROM pg_seclabel AS l
            WHERE l.classoid = 'pg_class'::regclass AND l.objoid = c.oid
            UNION ALL
            SELECT 'it belongs to an extension' FROM pg_depend AS d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
            UNION ALL
            SELECT 'a subscription writes to it' FROM pg_subscription_rel AS s WHERE s.srrelid = c.oid
        ) AS p
    ), '[]'::json) ELSE '[]'::json END,
    'may_create', has_schema_privilege(n.oid, 'CREATE'),
    'partition_key', COALESCE(pg_get_partkeydef(c.oid), ''),
    'bound', COALESCE(pg_get_expr(c.relpartbound, c.oid), ''),
    -- From 14 on; a detach that was cut short stays so until somebody ends it.
    'detaching', COALESCE((
        SELECT bool_or((to_jsonb(i) ->> 'inhdetachpending')::boolean)
        FROM pg_inherits AS i
        WHERE i.inhrelid = c.oid
    ), false),
    'parents', COALESCE((
        SELECT json_agg(json_build_array(pn.nspname, p.relname) ORDER BY i.inhseqno)
        FROM pg_inherits AS i
        JOIN pg_class AS p ON p.oid = i.inhparent
        JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
        WHERE i.inhrelid = c.oid
    ), '[]'::json),
    'children', COALESCE((
        SELECT json_agg(json_build_array(pn.nspname, p.relname) ORDER BY pn.nspname, p.relname)
        FROM pg_inherits AS i
        JOIN pg_class AS p ON p.oid = i.inhrelid
        JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
        WHERE i.inhparent = c.oid
    ), '[]'::json),
    'columns', COALESCE((
        SELECT json_agg(json_build_object(
            'name', a.attname,
            'type', format_type(a.atttypid, a.atttypmod),
            'number', a.attnum,
            'not_null', a.attnotnull,
            'default', CASE WHEN a.attgenerated = ''
                THEN COALESCE(pg_get_expr(d.adbin, d.adrelid), '') ELSE '' END,
            'identity', a.attidentity,
            'generated', a.attgenerated,
            'collation', CASE WHEN a.attcollation <> t.typcollation
                THEN COALESCE((SELECT l.collname FROM pg_collation AS l WHERE l.oid = a.attcollation), '')
                ELSE '' END,
            'inherited', a.attinhcount > 0,
            'sequence', COALESCE((
                SELECT json_build_array(sn.nspname, sc.relname, format(
                    'INCREMENT BY %%s MINVALUE %%s MAXVALUE %%s START WITH %%s CACHE %%s %%s CYCLE',
                    q.seqincrement, q.seqmin, q.seqmax, q.seqstart, q.seqcache,
                    CASE WHEN q.seqcycle THEN '' ELSE 'NO' END
                ))
                FROM pg_depend AS o
                JOIN pg_class AS sc ON sc.oid = o.objid AND sc.relkind = 'S'
                JOIN pg_namespace AS sn ON sn.oid = sc.relnamespace
                JOIN pg_sequence AS q ON q.seqrelid = sc.oid
                WHERE o.classid = 'pg_class'::regclass AND o.refclassid = 'pg_class'::regclass
                    AND o.refobjid = c.oid AND o.refobjsubid = a.attnum AND o.deptype IN ('a', 'i')
                ORDER BY o.deptype = 'i' DESC
                LIMIT 1
            ), '[]'::json),
            'grants', COALESCE((
                SELECT json_agg(json_build_array(
                    CASE WHEN x.grantee = 0 THEN '' ELSE pg_get_userbyid(x.grantee) END,
                    x.privilege_type
                ))
                FROM aclexplode(a.attacl) AS x
            ), '[]'::json),
            'sequence_grants', COALESCE((
                SELECT json_agg(json_build_array(
                    CASE WHEN x.grantee = 0 THEN '' ELSE pg_get_userbyid(x.grantee) END,
                    x.privilege_type, x.is_grantable
                ))
                FROM pg_depend AS o
                JOIN pg_class AS sc ON sc.oid = o.objid AND sc.relkind = 'S'
                CROSS JOIN aclexplode(sc.relacl) AS x
                WHERE o.classid = 'pg_class'::regclass AND o.refclassid = 'pg_class'::regclass
                    AND o.refobjid = c.oid AND o.refobjsubid = a.attnum AND o.deptype IN ('a', 'i')
                    AND x.grantee <> sc.relowner
            ), '[]'::json),
            'comment', COALESCE(col_description(c.oid, a.attnum), ''),
            'definition', format('%%I %%s', a.attname, format_type(a.atttypid, a.atttypmod))
                || CASE WHEN a.attcollation <> t.typcollation THEN COALESCE((
                    SELECT format(' COLLATE %%I.%%I', ln.nspname, l.collname)
                    FROM pg_collation AS l JOIN pg_namespace AS ln ON ln.oid = l.collnamespace
                    WHERE l.oid = a.attcollation
                ), '') ELSE '' END
                || CASE a.attgenerated
                    WHEN 's' THEN format(' GENERATED ALWAYS AS (%%s) STORED', pg_get_expr(d.adbin, d.adrelid))
                    WHEN 'v' THEN format(' GENERATED ALWAYS AS (%%s) VIRTUAL', pg_get_expr(d.adbin, d.adrelid))
                    ELSE COALESCE(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
                END,
            'settings', (
                SELECT COALESCE(json_agg(x.clause), '[]'::json)
                FROM (VALUES
                    (CASE WHEN a.attstorage <> t.typstorage THEN 'SET STORAGE ' || CASE a.attstorage
                        WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED'
                    END END),
                    -- Exists from 14 on.
                    (CASE to_jsonb(a) ->> 'attcompression'
                        WHEN 'p' THEN 'SET COMPRESSION pglz' WHEN 'l' THEN 'SET COMPRESSION lz4'
                    END),
                    (CASE WHEN COALESCE(a.attstattarget, -1) >= 0 THEN 'SET STATISTICS ' || a.attstattarget END),
                    -- A distribution may write options of its own there, which nobody can set.
                    ((SELECT 'SET (' || string_agg(o, ', ') || ')' FROM unnest(a.attoptions) AS o
                      WHERE starts_with(o, 'n_distinct')))
                ) AS x (clause)
                WHERE x.clause IS NOT NULL
            ),
            'place', CASE WHEN c.oid IN (SELECT oid FROM named) THEN (
                SELECT json_build_object(
                    'alignment', CASE a.attalign WHEN 'c' THEN 1 WHEN 's' THEN 2 WHEN 'i' THEN 4 ELSE 8 END,
                    'width', CASE WHEN a.attlen > 0 THEN a.attlen ELSE COALESCE(max(s.avg_width), 32) END,
                    'fixed', a.attlen > 0,
                    'nulls', COALESCE(max(s.null_frac), 0)
                )
                FROM pg_stats AS s
                WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
                    AND NOT s.inherited
            ) END
        ) ORDER BY a.attnum)
        FROM pg_attribute AS a
        JOIN pg_type AS t ON t.oid = a.atttypid
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ), '[]'::json),
    'indexes', COALESCE((
        SELECT json_agg(json_build_object(
            'name', json_build_array(xn.nspname, xc.relname),
            'columns', (
                SELECT json_agg(a.attname ORDER BY k.place)
                FROM unnest(x.indkey) WITH ORDINALITY AS k (number, place)
                LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number AND k.number > 0
                WHERE k.place <= x.indnkeyatts
            ),
            'unique', x.indisunique,
            'primary', x.indisprimary,
            'valid', x.indisvalid,
            'ready', x.indisready,
            'partial', x.indpred IS NOT NULL,
            'immediate', x.indimmediate,
            'constraint', COALESCE((
                SELECT k.conname FROM pg_constraint AS k
                WHERE k.conindid = x.indexrelid AND k.contype IN ('p', 'u', 'x')
            ), ''),
            'definition', pg_get_indexdef(x.indexrelid),
            'method', am.amname,
            'body', substr(pg_get_indexdef(x.indexrelid), length(format(
                'CREATE %%sINDEX %%I ON %%s%%I.%%I ',
                CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END, xc.relname,
                CASE WHEN xc.relkind = 'I' THEN 'ONLY ' ELSE '' END, n.nspname, c.relname
            )) + 1),
            'comment', COALESCE(obj_description(x.indexrelid, 'pg_class'), ''),
            'replica', x.indisreplident
        ) ORDER BY xc.relname)
        FROM pg_index AS x
        JOIN pg_class AS xc ON xc.oid = x.indexrelid
        JOIN pg_am AS am ON am.oid = xc.relam
        JOIN pg_namespace AS xn ON xn.oid = xc.relnamespace
        WHERE x.indrelid = c.oid
    ), '[]'::json),
    'constraints', COALESCE((
        SELECT json_agg(json_build_object(
            'name', k.conname,
            'type', k.contype,
            'columns', COALESCE((
                SELECT json_agg(a.attname ORDER BY p.place)
                FROM unnest(k.conkey) WITH ORDINALITY AS p (number, place)
                JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = p.number
            ), '[]'::json),
            'validated', k.convalidated,
            'deferrable', k.condeferrable,
            'deferred', k.condeferred,
            'definition', pg_get_constraintdef(k.oid),
            'references', CASE WHEN k.contype = 'f' THEN (
                SELECT json_build_array(fn.nspname, f.relname)
                FROM pg_class AS f JOIN pg_namespace AS fn ON fn.oid = f.relnamespace
                WHERE f.oid = k.confrelid
            ) END,
            'referenced', COALESCE((
                SELECT json_agg(a.attname ORDER BY p.place)
                FROM unnest(k.confkey) WITH ORDINALITY AS p (number, place)
                JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = p.number
            ), '[]'::json),
            'actions', k.confupdtype::text || k.confdeltype::text || k.confmatchtype::text,
            'inherited', k.coninhcount > 0 OR k.conparentid <> 0,
            'comment', COALESCE(obj_description(k.oid, 'pg_constraint'), '')
        ) ORDER BY k.conname)
        FROM pg_constraint AS k
        WHERE k.conrelid = c.oid AND k.contype <> 't'
    ), '[]'::json),
    'triggers', COALESCE((
        SELECT json_agg(json_build_object(
            'name', g.tgname,
            'function', json_build_array(fn.nspname, f.proname),
            'enabled', g.tgenabled,
            'type', g.tgtype,
            'definition', pg_get_triggerdef(g.oid),
            'source', f.prosrc,
            'cloned', g.tgparentid <> 0,
            'comment', COALESCE(obj_description(g.oid, 'pg_trigger'), '')
        ) ORDER BY g.tgname)
        FROM pg_trigger AS g
        JOIN pg_proc AS f ON f.oid = g.tgfoid
        JOIN pg_namespace AS fn ON fn.oid = f.pronamespace
        WHERE g.tgrelid = c.oid AND NOT g.tgisinternal
    ), '[]'::json),
    'dependents', COALESCE((
        SELECT json_agg(DISTINCT jsonb_build_object('kind', x.kind, 'name', x.name, 'definition', x.definition))
        FROM (
            SELECT
                CASE v.relkind WHEN 'm' THEN 'materialized view' WHEN 'v' THEN 'view' ELSE 'rule' END AS kind,
                format('%%I.%%I', vn.nspname, v.relname) AS name,
                CASE WHEN v.relkind IN ('v', 'm') THEN pg_get_viewdef(v.oid) ELSE pg_get_ruledef(r.oid) END AS definition
            FROM pg_depend AS d
            JOIN pg_rewrite AS r ON r.oid = d.objid
            JOIN pg_class AS v ON v.oid = r.ev_class
            JOIN pg_namespace AS vn ON vn.oid = v.relnamespace
            WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
                AND d.refobjid = c.oid AND r.ev_class <> c.oid
            UNION ALL
            SELECT 'rule of its own', quote_ident(r.rulename), pg_get_ruledef(r.oid)
            FROM pg_rewrite AS r
            WHERE r.ev_class = c.oid AND c.relkind IN ('r', 'p')
            UNION ALL
            -- Bound to the table itself, or to its row type, and not to its name.
            SELECT 'bound function', d.objid::regprocedure::text, ''
            FROM pg_depend AS d
            WHERE d.classid = 'pg_proc'::regclass AND (
                d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                OR d.refclassid = 'pg_type'::regclass AND c.reltype <> 0 AND d.refobjid IN (
                    c.reltype, (SELECT y.typarray FROM pg_type AS y WHERE y.oid = c.reltype)
                )
            )
            UNION ALL
            -- Of all tables, or of all of a schema; by the names of partitions.
            SELECT CASE WHEN b.pubviaroot THEN 'publication of many by root' ELSE 'publication of many' END, b.pubname::text, ''
            FROM pg_publication AS b
            WHERE c.oid IN (SELECT oid FROM named) AND c.relkind = 'r'
                AND EXISTS (
                    SELECT FROM pg_get_publication_tables(b.pubname::text) AS p WHERE p.relid = c.oid
                )
                AND NOT EXISTS (
                    SELECT FROM pg_publication_rel AS pr
                    WHERE pr.prpubid = b.oid AND pr.prrelid = c.oid
                )
            UNION ALL
            -- GROUP BY the key alone shows other columns by leave of the key.
            SELECT
                'user of the primary key',
                COALESCE(quote_ident(vn.nspname) || '.' || quote_ident(v.relname), d.objid::regprocedure::text),
                COALESCE(pg_get_viewdef(v.oid), '')
            FROM pg_constraint AS k
            JOIN pg_depend AS d ON d.refclassid = 'pg_constraint'::regclass AND d.refobjid = k.oid
                AND d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass)
            LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
            LEFT JOIN pg_class AS v ON v.oid = r.ev_class
            LEFT JOIN pg_namespace AS vn ON vn.oid = v.relnamespace
            WHERE k.conrelid = c.oid AND k.contype = 'p'
            UNION ALL
            SELECT 'policy', p.polname::text, pg_get_expr(p.polqual, p.polrelid)
            FROM pg_policy AS p
            WHERE p.polrelid = c.oid
            UNION ALL
            SELECT 'publication', b.pubname::text, COALESCE((
                SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
                FROM pg_attribute AS a
                -- Column lists exist from 15 on.
                WHERE a.attrelid = c.oid AND to_jsonb(pr) -> 'prattrs' @> to_jsonb(a.attnum)
            ), '')
            FROM pg_publication_rel AS pr
            JOIN pg_publication AS b ON b.oid = pr.prpubid
            WHERE pr.prrelid = c.oid
            UNION ALL
            SELECT 'generated column', format('%%I', a.attname), pg_get_expr(e.adbin, e.adrelid)
            FROM pg_attribute AS a
            JOIN pg_attrdef AS e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
            WHERE a.attrelid = c.oid AND a.attgenerated <> ''
            UNION ALL
            -- By what depends on the type, which has an index; the columns of a type have none.
            SELECT 'row type', format('%%I.%%I.%%I', un.nspname, u.relname, a.attname), ''
            FROM pg_depend AS d
            JOIN pg_attribute AS a ON a.attrelid = d.objid AND a.attnum = d.objsubid AND NOT a.attisdropped
            JOIN pg_class AS u ON u.oid = a.attrelid AND u.relkind IN ('r', 'p', 'm', 'f', 'c')
            JOIN pg_namespace AS un ON un.oid = u.relnamespace
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_type'::regclass AND c.reltype <> 0
                AND d.refobjid IN (c.reltype, (SELECT y.typarray FROM pg_type AS y WHERE y.oid = c.reltype))
            UNION ALL
            SELECT 'statistics', s.stxname::text, pg_get_statisticsobjdef(s.oid)
            FROM pg_statistic_ext AS s
            WHERE s.stxrelid = c.oid
            UNION ALL
            -- A body is text until it runs, so a word of that name is all that can be looked for; a
            -- body in SQL's own syntax (from 14) is empty here, and depends on the table instead.
            SELECT 'function', format('%%I.%%I(%%s)', fn.nspname, f.proname, pg_get_function_identity_arguments(f.oid)), ''
            FROM pg_proc AS f
            JOIN pg_namespace AS fn ON fn.oid = f.pronamespace
            WHERE c.oid IN (SELECT oid FROM linked)
                AND fn.nspname NOT IN ('pg_catalog', 'information_schema', 'phasegate')
                AND (
                    position(c.relname IN f.prosrc) > 0
                    AND f.prosrc ~ ('\m' || regexp_replace(c.relname, '([^[:alnum:]_])', '\\\1', 'g') || '\M')
                    OR EXISTS (
                        SELECT FROM pg_depend AS d
                        WHERE d.classid = 'pg_proc'::regclass AND d.objid = f.oid
                            AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                    )
                )
        ) AS x
    ), '[]'::json)
)
FROM (SELECT DISTINCT oid FROM tree) AS chosen
JOIN pg_class AS c ON c.oid = chosen.oid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY n.nspname, c.relname;
