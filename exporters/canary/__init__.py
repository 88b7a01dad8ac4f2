"""The exporter of a model canary: trades, orders, scores and the operations around them."""
