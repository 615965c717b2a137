# Filled in by the packaging work: install and export of the torch-free libraries and programs.
