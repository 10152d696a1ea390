"""The efficiency of a configuration on its own data, by injected sources of known flux."""
