"""Route every LLM call to the cheapest model that will still answer it well."""

__version__ = "0.1.0"
