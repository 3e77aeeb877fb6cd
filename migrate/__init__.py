"""The mover: a live schema goes from integer keys to UUIDs, in phases that are each proved."""
