"""From results to an image: its config and manifest, archives, folders and registries."""
