"""The admin port: what an operator asks and changes."""
