"""Figures of answers (`run`, `answers`, `waterfall`), of features, of speed; and which pipelines suit a gallery (`tune`)."""
