"""Figures of answers, of features, of speed."""
