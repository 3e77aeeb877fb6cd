"""The judge: reads evidence, judges criteria, and says so for people and for pipelines."""
