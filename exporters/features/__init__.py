"""The exporter of declared metrics: the measurements of several rollouts, as a YAML file declares them."""
