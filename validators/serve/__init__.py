"""`validate serve`: the same judgement over HTTP, for controllers that poll instead of waiting."""
