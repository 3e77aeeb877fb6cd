"""A live legacy database under traffic, measured before and after it gains UUIDs."""
