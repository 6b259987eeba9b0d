"""The pytest plugin: options, markers, one test per crash point. pytest loads it by its entry point."""
