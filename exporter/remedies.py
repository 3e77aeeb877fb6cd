"""What to do about each reason for which a collector fails; shown on the page beside the error."""

from __future__ import annotations

REMEDIES = {
    "authentication": "check user and password; a `*_file` or `password_command` is asked anew at "
    "each connection",
    "baseline_unusable": "give the exporter the one that was captured of this environment before "
    "the change (phasegate baseline capture), or take the file away: no judge believes it",
    "budget": "give the collector more time in the configuration, or a smaller task",
    "cache_error": "the cache's server refused a command: see the error",
    "cancelled": "somebody cancelled our statement at the server (pg_cancel_backend)",
    "internal": "this is a bug of Phasegate: report it with the log's lines",
    "loading": "the cache's server reads its data from disk: wait",
    "lock_timeout": "somebody holds or awaits a lock on what is read: see pg_locks; the next run "
    "tries again",
    "no_backend": "all connections of the budget are busy: a server that does not answer, or "
    "scrapes that come too often",
    "not run yet": "wait for its first run",
    "privilege": "run the SQL that `phasegate init --grants` prints",
    "secret": "the password or connection string could not be read: see the error, then the "
    "`*_file` or `password_command` it names",
    "standby": "the server is in recovery, where nothing is counted: `database` is to name the "
    "primary, a standby belongs to `replicas`",
    "statement_timeout": "the server took too long: a larger scrape timeout, or look for what "
    "slows it",
    "timeout": "the server did not answer in time: is it up, is the network whole?",
    "too_many_connections": "raise max_connections, or reserve slots for monitoring "
    "(pg_use_reserved_connections, from PostgreSQL 16)",
    "undefined_object": "a table or column of the configuration is not there, or the server's "
    "version is not supported (13 to 18)",
    "unreachable": "is the server up, does it listen there, does a firewall let us through?",
}


def remedy_for(reason: str) -> str:
    """One sentence; empty where the error itself must do."""
    return REMEDIES.get(reason, "")
