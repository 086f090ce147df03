"""Our own engine for data: sources through processors to dataset files."""
