"""The demo's `phasegate.yaml`: what a team with this application would write.

Connection strings stay in the environment; the file holds no secret.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from string import Template

FILE_NAME = "phasegate.yaml"
_TEXT = Template("""\
environment: demo
database: {url: "$${DATABASE_URL}"}
cache:
  url: "$${REDIS_URL}"
  key_pattern: "$key_pattern"
  warm:
    ids: SELECT uuid FROM public.users ORDER BY id LIMIT 2000
    sql: >-
      SELECT '${key_prefix}2:' || u.uuid, COALESCE((
        SELECT json_agg(DISTINCT p.name ORDER BY p.name)
        FROM public.user_roles ur
        JOIN public.role_permissions rp ON ur.role_id = rp.role_id
        JOIN public.permissions p ON rp.permission_id = p.id
        WHERE ur.user_id = u.id AND ur.valid_until > NOW()
      ), '[]')::text
      FROM public.users u WHERE u.uuid = ANY($$1)
    ttl: 15m
exporter:
  url: "$exporter_url"
  # A database this small can be counted often, and whoever watches a demo waits for it.
  probe_interval: 50ms
  reconcile_interval: 2s
  exact_count_interval: 2s
  evidence_block: 1s
tables:
  - {name: public.users, uuid_column: uuid}
lookups:
  - query_type: permission_check
    parameter: users.uuid
    sql: >-
      SELECT p.name FROM users u
      JOIN user_roles ur ON u.id = ur.user_id
      JOIN role_permissions rp ON ur.role_id = rp.role_id
      JOIN permissions p ON rp.permission_id = p.id
      WHERE u.uuid = $$1 AND ur.valid_until > NOW()
audit:
  table: public.audit_logs
  time_column: created_at
  category_column: category
  partition: month
  premake: 3
  watch: [{table: public.users, writer: trigger}]
health:
  - {name: api, url: "$application_url/health", body: {json: {status: ok}}}
application:
  metrics_url: "$application_url/metrics"
  requests: {metric: http_requests_total}
  errors: {metric: http_requests_total, match: {status: "5.."}}
  cache: {requests: cache_requests_total, hits: cache_hits_total}
criteria:
  uuid_lookup_latency: {warning: $limit, critical: 2s}
  # In a minute nobody sends the requests that a rate of one in a thousand takes to be seen.
  error_rate: {floor: 0.01}
issues: {signoff: {file: signoff.yaml, required: [support inbox read]}}
migrate:
  backup: {directory: ./backups}
  # Whoever tries a demo has other things running.
  preflight: {cpu_limit: 50}
  hooks:
    deploy_api:
      command: ["$python", "-m", "phasegate.demo.deploy", "$folder", "2"]
      timeout: 60s
    rollback_api:
      command: ["$python", "-m", "phasegate.demo.deploy", "$folder", "1"]
      timeout: 60s
""")


@dataclass(frozen=True)
class Places:
    """Where things are: base URLs of the application and the exporter, the prefix of the
    application's keys in the cache, the operator's folder. `limit` is that of a lookup."""

    application_url: str
    exporter_url: str
    key_prefix: str
    folder: str = "."
    limit: str = "10ms"


def render_config(places: Places) -> str:
    """The file for those places."""
    return _TEXT.substitute(
        application_url=places.application_url,
        exporter_url=places.exporter_url,
        key_pattern=f"{places.key_prefix}*",
        key_prefix=places.key_prefix,
        folder=places.folder,
        limit=places.limit,
        python=sys.executable,
    )
