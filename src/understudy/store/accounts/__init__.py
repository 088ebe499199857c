"""Accounts: people, their sessions and keys, screening, alarms."""
