"""The store as a registry: what `pybuild serve` answers, as a WSGI application. Knows no server and no socket.

Source: opencontainers/distribution-spec 1.1.
"""
