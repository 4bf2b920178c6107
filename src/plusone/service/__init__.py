"""The HTTP service. It meets counters only through the façade."""
