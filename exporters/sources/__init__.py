"""Where exporters read from: files, Redis streams, SQL, behind one interface."""
