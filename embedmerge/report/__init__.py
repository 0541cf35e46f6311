"""Results to what people read: terminal table, JSON, HTML page, model card."""
