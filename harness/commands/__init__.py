"""The commands of `emco-chaos`, by what they have to import: cli.py imports the module of the one that is called."""
