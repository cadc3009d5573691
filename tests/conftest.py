"""Shared test settings: the network is blocked (pyproject.toml), only loopback answers."""
