"""A proxy between a program and the API server, which breaks what it passes on as it is told.

It runs in a pod, from its source, and imports nothing of this project.
"""
