CREATE TABLE ensemble_validation_metrics (
    symbol TEXT NOT NULL, symbol_id TEXT, horizon TEXT NOT NULL, window_id INTEGER, validation_date TIMESTAMP NOT NULL,
    val_rmse DOUBLE PRECISION, test_rmse DOUBLE PRECISION, divergence DOUBLE PRECISION, is_overfitting BOOLEAN,
    model_count INTEGER, models_used TEXT
);
CREATE TABLE forecasts (symbol TEXT, horizon TEXT, success BOOLEAN NOT NULL);
CREATE TABLE calibrations (symbol TEXT, horizon TEXT, success BOOLEAN NOT NULL);
