"""From runs and their tables to pictures."""
