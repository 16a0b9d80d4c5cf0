"An optimizer as one file that needs only torch: see `export.py`."
