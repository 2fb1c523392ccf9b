"""Results set beside published and measured numbers: runs -> blocks -> report, plot."""
