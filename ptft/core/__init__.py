"""What every stage shares: errors, contracts, files, recipes, records, progress, text, training, metrics."""
