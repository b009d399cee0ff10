"""How what is served changes while it serves: a new configuration, new prices, other workers."""
