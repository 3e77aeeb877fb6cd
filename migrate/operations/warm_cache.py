"""The permission cache filled, as a step: an empty one would send every check to the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phasegate.migrate.cache_keys import open_cache
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.context import Context
from phasegate.migrate.model import Action, ChangesNoSchema, Patience
from phasegate.migrate.warm_cache import Warmer


@dataclass(frozen=True)
class WarmCache(ChangesNoSchema):
    """By the queries of `cache.warm`. What is there is left as it is."""

    kind: ClassVar[str] = "warm_cache"
    if_cold: bool = False

    @property
    def object(self) -> str:
        """What is filled."""
        return "the permission cache"

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """Always: what the cache holds, only the cache knows."""
        return (Action("fill the permission cache", work=self),)

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`."""
        cache = context.settings.cache
        if cache is None or cache.warm is None:
            return {"configured": False}
        with context.connect(Patience.BATCH) as connection, open_cache(cache) as client:
            warmer = Warmer(cache, cache.warm, connection, client, context.control, context.report)
            if self.if_cold and not warmer.is_cold():
                context.say("the permission cache is warm: nothing is written")
                return {"cold": False}
            found = warmer.fill()
        context.say(
            f"permission cache: {found.kept} keys filled, {found.present} were there, "
            f"{found.dropped} had changed meanwhile"
        )
        return found._asdict()
