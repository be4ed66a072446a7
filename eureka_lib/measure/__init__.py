"""Runs in, tables out: what the figures show and the claims are judged by."""
