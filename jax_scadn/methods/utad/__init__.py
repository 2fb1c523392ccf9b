"""UTAD (arXiv 2103.11671): two stages, and the method that scores."""
