"""From runs and their tables to verdicts: the registry of claims, the rules, and the scorecard of all of them."""
