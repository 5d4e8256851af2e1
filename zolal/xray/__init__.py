"""The views of a recording: each request's journey through kernel and Python, as a tree."""
