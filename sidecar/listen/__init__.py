"""The listening side: bytes of a caller to a request, an answer back to bytes.

What routes a request (:mod:`sidecar.ingress` and after) is nothing of this folder's.
"""
