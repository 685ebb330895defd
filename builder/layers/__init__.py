"""Layers as values: entries, indexes, tar, the packing pipeline, extraction, differences."""
