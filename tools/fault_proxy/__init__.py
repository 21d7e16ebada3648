"""A proxy between a program and the API server that injects faults.

It runs from source in a pod and imports nothing else of this project.
"""
