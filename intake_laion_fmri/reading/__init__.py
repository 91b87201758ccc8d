"""Opening data: arguments, plan, one task per file, labelled Dataset."""
