"""What an operator does beside the migration: grants now, more to come."""
