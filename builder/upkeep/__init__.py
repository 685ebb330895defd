"""Care of a store: what it holds, what may go, whether it is sound, and putting it right."""
