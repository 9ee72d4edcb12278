"""Compiled at first use where there is a compiler, and never needed."""
