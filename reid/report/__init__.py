"""What people and programs read: the terminal's table, JSON, CSV (`tables`), and pictures of matches (`pictures`)."""
