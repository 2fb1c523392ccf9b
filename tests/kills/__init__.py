"""kill -9 at random moments: `python -m tests.kills --count=100`."""
