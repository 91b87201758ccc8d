"""Arguments become a plan, the plan becomes a task for each file, and the tasks become one labelled Dataset."""
