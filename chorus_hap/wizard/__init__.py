"""Screens that compose something: message, vote, proposal, and the questions between."""
