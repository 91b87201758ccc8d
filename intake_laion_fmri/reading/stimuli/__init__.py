"""What is known of the images: the table, the images themselves, and what was made from them."""
