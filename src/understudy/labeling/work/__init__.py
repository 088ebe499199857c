"""The labeler's half: the stages before work, tasks, submissions, the account's own page."""
