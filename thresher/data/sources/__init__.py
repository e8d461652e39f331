"""Any source in, rows out: hub names, Parquet, Arrow, JSON, CSV, text files and folders of images."""
