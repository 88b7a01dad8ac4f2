"""What a person looks at: functions that return grafanalib Dashboards, one room for each kind.

`rollout` is made from a rollout's file, `fleet` shows all of them, `platform` watches the watchers. `canary`,
`screener`, `validation`, `forecast`, `features` and `features_history` hold the panels of the five watched
systems. `finish` turns what grafanalib gives into what Grafana reads today.
"""
