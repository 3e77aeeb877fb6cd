"""The demo's `phasegate.yaml`: what a team with this application would write.

Connection strings stay in the environment; the file holds no secret.
"""

from __future__ import annotations

from string import Template

FILE_NAME = "phasegate.yaml"
_TEXT = Template("""\
environment: demo
database: {url: "$${DATABASE_URL}"}
cache: {url: "$${REDIS_URL}", key_pattern: "$key_pattern"}
exporter:
  url: "$exporter_url"
  # A database this small can be counted often, and whoever watches a demo waits for it.
  probe_interval: 50ms
  reconcile_interval: 2s
  exact_count_interval: 2s
  evidence_block: 2s
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
  required: [health, uuid_lookup_latency, cache_hit_rate, audit_coverage]
  # Stricter than the guide's 10 ms: in a table this small even a scan of all rows is fast.
  uuid_lookup_latency: {warning: 6ms}
""")


def render_config(application_url: str, exporter_url: str, key_prefix: str) -> str:
    """The file for servers at those addresses; the application's keys begin with `key_prefix`."""
    return _TEXT.substitute(
        application_url=application_url,
        exporter_url=exporter_url,
        key_pattern=f"{key_prefix}*",
    )
