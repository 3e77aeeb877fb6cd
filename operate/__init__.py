"""What an operator does beside the migration: begin with it, and find what is wrong."""
