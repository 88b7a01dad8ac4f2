"""The exporter of an ensemble of forecasting models: its validation table, forecasts and log."""
