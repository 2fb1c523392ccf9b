"""Images in: sources -> records -> Grain batches."""
