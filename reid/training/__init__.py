"""Features trained on one's own photos, without a label: warps, noise, targets and losses of each method, and one loop for all."""
