"""What pytest has to load before it looks at any test. The plugin under test itself comes in by its entry point."""

# The tests of the plugin run pytest inside pytest. Only a conftest.py at the top may ask for that.
pytest_plugins = ["pytester"]
