"""A command in namespaces of its own over an overlay of layers. `server` is asked, `spawning` forks, `setup` runs in the fork."""
