"""What is asked for becomes a plan, a plan becomes tasks, one for each file, and these one labelled Dataset."""
