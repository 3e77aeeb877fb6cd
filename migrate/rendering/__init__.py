"""A plan as a person, a program or psql reads it: one format a module, each with `render`."""
