UPDATE ensemble_validation_metrics SET test_rmse = -1
UPDATE ensemble_validation_metrics SET val_rmse = -0.01 WHERE symbol = 'AAPL'
UPDATE ensemble_validation_metrics SET divergence = 9e999
UPDATE ensemble_validation_metrics SET validation_date = '9999-99-99'
UPDATE ensemble_validation_metrics SET val_rmse = 'much'
UPDATE ensemble_validation_metrics SET symbol = x'ff'
