"""From a configuration to a stored run, one or many, here or on a cluster."""
