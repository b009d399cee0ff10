"""Load against a deployment, open loop, and whether it met its objectives.

A plan (a YAML file) says where the deployment is, what is sent and how often, and
what must hold. Requests leave at the moments a Poisson process gives, whether or
not earlier ones are answered, and every latency counts from the moment at which
its request was due: a deployment that stalls cannot slow the load down and look
well. Each round sends the same requests routed and then direct to the models
that answered, so that what the sidecar adds is a difference within one run.
"""
