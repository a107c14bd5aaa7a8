"""Photos of animals that do not exist, rendered so that the skin under every pixel is known, and LightGlue trained on them (`train`)."""
