"""The labeler's half: the stages before work, tasks, what is sent, one's own page."""
