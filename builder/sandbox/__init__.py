"""A command in namespaces of its own over an overlay of layers. `server` forks it, `setup` is what runs in the fork."""
