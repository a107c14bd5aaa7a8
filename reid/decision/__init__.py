"""Known or new: probabilities, verdicts, and what they are worth."""
