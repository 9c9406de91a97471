"""Files to tables and back: one file a format."""
