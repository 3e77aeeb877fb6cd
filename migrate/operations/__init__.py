"""What steps are made of: one kind of change a file, each looking in the catalog first."""
