"""Real parts: programs that tests start, and end again."""
