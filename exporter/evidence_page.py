"""`GET /api/v1/evidence?since=TIME`: what a judge reads, as JSON.

The answer is `contract.evidence.Evidence`, described for readers in docs/reference/evidence.md:

    version, build, environment     of this form, of the exporter, as configured
    started, generated, since       Unix seconds: the exporter's start, now, what was asked for
    complete_since                  before it blocks may have been dropped
    block_seconds, settings_hash    length of a slot; hash of all settings
    targets[]                       name, kind, up, identity, epoch
    series[]                        criterion, target, scope, schema, table, edges, blocks[]
    series[].blocks[]               start, end, epoch, identity, settings_hash, total and the
                                    counts good, buckets, failed, skipped; open while it grows
    observations[]                  criterion, target, subject, value, time, detail
    audit                           triggers, functions and counters of the audit log's tables

Counts that are 0 are left out. `since` selects blocks that start, and values that were measured,
at that time or later; without it all that is kept is answered. A query that cannot be read is
refused: evidence of another window than the one that was meant could open a gate.
"""

from __future__ import annotations

import asyncio
import gzip
import time

import msgspec
from aiohttp import web

from phasegate.contract.evidence import Evidence
from phasegate.contract.times import EXPECTED, parse_time
from phasegate.exporter.app import Exporter
from phasegate.exporter.negotiation import accepts_gzip

GZIP_LEVEL = 1


async def answer_evidence(exporter: Exporter, request: web.Request) -> web.Response:
    """The evidence since the time asked for; 400 with `what`, `found` and `expected` otherwise."""
    unknown = sorted(set(request.query) - {"since"})
    if unknown:
        return _refused(f"unknown parameter {unknown[0]!r}", unknown[0], "only since")
    given = request.query.getall("since", [])
    try:
        [since] = [parse_time(text) for text in given] or [0.0]
    except ValueError:
        return _refused("since cannot be read", ", ".join(given), EXPECTED)
    evidence = exporter.make_evidence(since, time.time())
    zipped = accepts_gzip(request)
    body = await asyncio.to_thread(_encode, evidence, zipped=zipped)
    headers = {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "Vary": "Accept-Encoding",
    }
    if zipped:
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=body, headers=headers)


def _encode(evidence: Evidence, *, zipped: bool) -> bytes:
    body = msgspec.json.encode(evidence)
    return gzip.compress(body, GZIP_LEVEL) if zipped else body


def _refused(what: str, found: str, expected: str) -> web.Response:
    return web.json_response({"what": what, "found": found, "expected": expected}, status=400)
