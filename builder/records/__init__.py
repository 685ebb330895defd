"""What earlier builds did: cache keys, results, the history, and why a step ran."""
