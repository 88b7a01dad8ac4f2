"""What `rollguard up` runs on this machine: child processes, exporters, servers."""
