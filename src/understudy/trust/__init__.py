"""Statistics of labels: agreement, screening, drift, reliability. Pure; free of torch and SQL."""
