"""The backup of the phase `prepare`, and its proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from phasegate.contract.connection import database_conninfo
from phasegate.contract.errors import StepFailed
from phasegate.contract.migration import Event
from phasegate.contract.names import TableName
from phasegate.migrate.backup import check_whole, failing, list_backups, make_backup
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.context import Context
from phasegate.migrate.model import Action, ChangesNoSchema, Patience, Refusal
from phasegate.migrate.programs import choose_programs, find_programs, require_programs
from phasegate.migrate.prove_backup import Inconclusive, prove_backup


@dataclass(frozen=True)
class MakeBackup(ChangesNoSchema):
    """Dump the whole database. Each time that it is asked for: a dump of before is older."""

    kind: ClassVar[str] = "backup"
    repeats: ClassVar[bool] = True
    tables: tuple[TableName, ...] = ()

    @property
    def object(self) -> str:
        """All of it."""
        return "the database"

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """No program that can dump this server."""
        major = catalog.version // 10_000
        if choose_programs(major, find_programs()) is not None:
            return ()
        return (
            Refusal(
                self.object,
                f"no pg_dump of PostgreSQL {major} or newer",
                f"install postgresql-client-{major} or phasegate[local]",
            ),
        )

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """Always the dump."""
        return (Action("dump the database", patience=Patience.SCAN, work=self, changes=False),)

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`; StepFailed also for a dump of before that is no longer whole."""
        folder = context.settings.migrate.backup.directory
        fail = failing(context.step)
        for before in list_backups(folder, context.journal.identity)[:1]:
            check_whole(folder, before, fail)
        with context.connect(Patience.SCAN) as connection:
            made = make_backup(
                connection,
                database_conninfo(context.settings.database),
                folder,
                require_programs(context.catalog.version // 10_000, context.step),
                identity=context.journal.identity,
                named=self.tables,
                control=context.control,
                fail=fail,
            )
        context.say(f"{folder / made.file}: {made.size:,} bytes, {made.rows:,} rows")
        facts = {
            "file": made.file,
            "sha256": made.sha256,
            "size": made.size,
            "at": made.at,
            "lsn": made.lsn,
            "tables": len(made.tables),
            "rows": made.rows,
            "counts": made.digest,
        }
        context.journal.write(
            Event.BACKUP_MADE, step=context.step, seconds=made.seconds, facts=facts
        )
        return facts


@dataclass(frozen=True)
class ProveBackup(ChangesNoSchema):
    """Restore the newest dump elsewhere, and compare every table."""

    kind: ClassVar[str] = "backup_proof"
    repeats: ClassVar[bool] = True

    @property
    def object(self) -> str:
        """What is proved."""
        return "the newest backup"

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """Always the proof."""
        return (Action("restore the backup elsewhere and compare it", work=self, changes=False),)

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`; StepFailed names the file. What cannot be tried is said, and leaves
        the criterion `backup_restored` without its evidence."""
        backup = context.settings.migrate.backup
        newest = next(iter(list_backups(backup.directory, context.journal.identity)), None)
        if newest is None:
            raise StepFailed(context.step, f"{backup.directory} holds no backup of this database")
        facts: dict[str, Any] = {"file": newest.file, "sha256": newest.sha256}
        programs = require_programs(newest.major, context.step)
        try:
            proved = prove_backup(
                backup.directory,
                newest,
                programs,
                scratch=backup.scratch_url,
                control=context.control,
                fail=failing(context.step),
            )
        except Inconclusive as reason:
            context.say(f"not proved: {reason}")
            return facts | {"proved": None, "reason": str(reason)}
        assert proved.proof is not None
        context.say(f"{newest.file} is proved: restored into {proved.proof.where}, all rows agree")
        facts |= {"proved": True, "counts": newest.digest, **msgspec.to_builtins(proved.proof)}
        seconds = proved.proof.seconds
        context.journal.write(Event.BACKUP_PROVED, step=context.step, seconds=seconds, facts=facts)
        return facts
