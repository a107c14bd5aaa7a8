"""What people and programs read: the terminal's table, JSON, CSV (`tables`), pictures of matches (`pictures`), plots of an
evaluation or a training (`plots`), and HTML pages, of answers (`html`) and of an evaluation (`waterfall`)."""
