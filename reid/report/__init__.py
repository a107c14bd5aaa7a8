"""What people and programs read: the terminal's table, JSON, CSV (`tables`), pictures of matches (`pictures`), one HTML page (`html`)."""
