"""The pytest plugin: pytest loads this module by itself wherever Legato is installed."""
