"""What is deployed: a chart, manifests, rules, dashboards."""
