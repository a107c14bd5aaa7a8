"""A matcher that learns from photos whose animals are known."""
