"""What every dashboard is made of: panels, layout, units, colours, states, and views of guards."""
