"""A self-hostable backend for AI agents."""
